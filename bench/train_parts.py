"""Models of random weights in real sizes, and pictures with captions, for benchmarks of training."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TowerSize:
    """A CLIP ViT."""

    width: int
    layers: int
    heads: int
    side: int
    patch: int


@dataclass(frozen=True, slots=True)
class LanguageSize:
    """A Llama."""

    width: int
    layers: int
    heads: int
    hidden: int
    key_heads: int
    words: int


TOWERS = {
    "tiny": TowerSize(192, 6, 3, 128, 16),
    "vit-l": TowerSize(1024, 24, 16, 224, 14),
    "vit-l-336": TowerSize(1024, 24, 16, 336, 14),
}
"""vit-l: openai/clip-vit-large-patch14 and …-336."""
LANGUAGES = {
    "tiny": LanguageSize(256, 4, 4, 704, 4, 1024),
    "1b": LanguageSize(2048, 22, 32, 5632, 4, 32000),
    "7b": LanguageSize(4096, 32, 32, 11008, 32, 32000),
}
"""1b: TinyLlama-1.1B; 7b: Llama-2-7B and Vicuna-7B."""


@contextmanager
def random_parts(asked: Any, name: str) -> Iterator[tuple[Path, Any]]:
    """A scratch folder under `asked.folder` with `tower` and `language` in the sizes asked for, and their dtype:
    bfloat16 on a GPU. The folder is gone afterwards."""
    import torch

    dtype = torch.bfloat16 if asked.device == "cuda" else torch.float32
    folder = Path(tempfile.mkdtemp(prefix=f"pairmill-{name}-", dir=asked.folder))
    try:
        save_tower(folder / "tower", TOWERS[asked.model], dtype)
        save_language(folder / "language", LANGUAGES[asked.language], dtype)
        yield folder, dtype
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_tower(folder: Path, size: TowerSize, dtype: Any, seed: int = 0) -> Path:
    """A tower as transformers saves one, with CLIP's image processor."""
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        image_size=size.side,
        patch_size=size.patch,
    )
    torch.manual_seed(seed)
    CLIPVisionModel(config).to(dtype).save_pretrained(folder)
    square = {"height": size.side, "width": size.side}
    CLIPImageProcessor(size={"shortest_edge": size.side}, crop_size=square).save_pretrained(folder)
    return folder


def save_language(folder: Path, size: LanguageSize, dtype: Any, seed: int = 1) -> Path:
    """A Llama as transformers saves one, with a tokenizer of bytes: a token for each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = byte_tokenizer()
    config = LlamaConfig(
        hidden_size=size.width,
        intermediate_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        vocab_size=size.words,
        max_position_embeddings=4096,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # 7 billion values in float32 would be 27 GB
    try:
        LlamaForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(before)
    words.save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """Lossless, 259 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def captioned(folder: Path, count: int) -> Path:
    """WebDataset tars of `count` drawn scenes with short texts, indexed as a source."""
    from bench.streaming.samples import pictures, samples, write_tars
    from pipelines.index_folder import index_folder

    write_tars(folder, samples(pictures(None), count), 64)
    index_folder(str(folder))
    return folder
