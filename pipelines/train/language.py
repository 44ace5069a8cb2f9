"""The language model and its tokenizer, with a token for the picture.

In: a LanguageConfig. Out: what AutoModelForCausalLM and AutoTokenizer load; a .gguf file is unpacked to plain floats.
WrongRequest where nothing can be loaded, weights are missing, or there is no tokenizer.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from pipelines.train.loading import hub_errors, refuse_random
from pipelines.train.quantize import four_bit
from schemas.errors import WrongRequest
from schemas.train import LanguageConfig

LOCAL = "local"
PAD = "<pad>"


def load_language(config: LanguageConfig, dtype: Any) -> tuple[Any, Any]:
    """(causal language model in eval mode with parameters of `dtype`, tokenizer). Raises WrongRequest."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    packed: dict[str, Any] = {} if config.quantize is None else four_bit(config.model, dtype)
    folder, file = _where(config.model)
    if file:
        packed["gguf_file"] = file
    with hub_errors("language.model", config.model):
        tokenizer = AutoTokenizer.from_pretrained(folder, **packed)
        model, found = cast(
            "tuple[Any, dict[str, Any]]",
            AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, attn_implementation=config.attention, output_loading_info=True, **packed
            ),
        )
    refuse_random("language.model", config.model, found)
    if file:
        _forget_packing(model)
    elif config.quantize is not None:
        del model.config.quantization_config  # it would be the whole model's, once that is saved
    return model.eval(), tokenizer


def add_tokens(model: Any, tokenizer: Any, tokens: list[str]) -> list[int]:
    """Ids of special tokens, added where the tokenizer has none of that name; a pad token too, if it has none.

    The embeddings grow only where they are too few. New rows, of the head too, are the mean of the old ones: LLaVA's
    way (llava/train/train.py, smart_tokenizer_and_embedding_resize), and it needs no random numbers.
    """
    from transformers import AddedToken

    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": AddedToken(PAD, special=True, normalized=False)})
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in tokens], special_tokens=True)
    old = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > old:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        _mean_rows(model, old)
    return [tokenizer.convert_tokens_to_ids(token) for token in tokens]


def _mean_rows(model: Any, old: int) -> None:
    import torch

    layers = [model.get_input_embeddings()]
    if model.get_output_embeddings().weight is not layers[0].weight:
        layers.append(model.get_output_embeddings())
    with torch.no_grad():
        for layer in layers:
            layer.weight[old:] = layer.weight[:old].float().mean(0).to(layer.weight.dtype)


def _where(name: str) -> tuple[str, str | None]:
    """(name or folder, file in it that is to be unpacked)."""
    path = _local() if name == LOCAL else Path(name)
    if path.suffix != ".gguf":
        return name, None
    if not path.is_file():
        raise WrongRequest(f"language.model: there is no file {name!r}", "correct the path")
    if find_spec("gguf") is None:  # transformers reads such files through it
        raise WrongRequest(
            f"language.model {name!r} needs the package gguf", "install the extra: uv sync --extra local"
        )
    return str(path.parent), path.name


def _local() -> Path:
    from pipelines.local_model import server

    path = server._weights()
    if path is None:
        raise WrongRequest(f"the local model's weights, {server.WEIGHTS}, are not installed", server.REMEDY)
    return path


def _forget_packing(model: Any) -> None:
    """Its floats are plain by now; with these left in place transformers would refuse to save them."""
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
