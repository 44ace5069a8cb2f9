"""A vision-language model out of its parts: transformers' own LLaVA classes, with our projector in its place.

In: a ModelConfig. Out: `Built`. The parts are loaded once and put where they belong: nothing is copied, no second set
of weights is made. WrongRequest where parts cannot be joined.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.train import anyres
from pipelines.train.families import FAMILIES, check_tiles, make_processor
from pipelines.train.families import settings as family_settings
from pipelines.train.language import add_tokens, load_language
from pipelines.train.projectors.base import Projector, Shape
from pipelines.train.projectors.registry import projector as make_projector
from pipelines.train.towers import Sight, Tower, load_tower
from schemas.errors import WrongRequest
from schemas.train import ModelConfig, ProjectorConfig


@dataclass
class Built:
    """A model and what belongs to it."""

    model: Any
    """LlavaForConditionalGeneration, LlavaNext… or LlavaOnevision…; or peft's PeftModel around it."""
    processor: Any
    """transformers' processor of that family: tokenizer, pictures, and how many image tokens a picture has."""
    projector_config: ProjectorConfig
    sight: Sight

    @property
    def core(self) -> Any:
        """transformers' model, without peft around it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def projector(self) -> Projector:
        """The projector, in its place."""
        return self.core.model.multi_modal_projector

    @property
    def tokenizer(self) -> Any:
        """With the image token in it."""
        return self.processor.tokenizer

    @property
    def family(self) -> str:
        """llava, llava_next or llava_onevision."""
        return self.core.config.model_type

    def image_tokens(self, height: int, width: int, *, alone: bool = True) -> int:
        """Image tokens that a picture of these pixels becomes. `alone`: its sample has no other picture."""
        if self.family == "llava":
            return self.projector.image_tokens(self.sight.kept)
        return anyres.image_tokens(self.processor, height, width, alone=alone)

    def pictures(self, samples: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
        """The model's picture inputs for the pictures of these samples, in their order; empty where there is none.

        A picture is uint8 RGB (height, width, 3). llava: pixel_values (pictures, 3, side, side). With tiles:
        pixel_values (pictures, most tiles + 1, 3, side, side), image_sizes (pictures, 2) as height, width; and
        llava_onevision's batch_num_images (samples that have pictures).
        """
        with_pictures = [list(sample) for sample in samples if len(sample)]
        if not with_pictures:
            return {}
        given: Any = with_pictures
        if self.family != "llava_onevision":
            given = [picture for sample in with_pictures for picture in sample]
        return dict(self.processor.image_processor(given, return_tensors="pt", input_data_format="channels_last"))


def build(config: ModelConfig) -> Built:
    """Load tower and language model and join them through a new projector. Raises WrongRequest."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[config.precision]
    tower = load_tower(config.tower, dtype)
    check_tiles(config, tower)
    language, tokenizer = load_language(config.language, dtype)
    if config.image_token == tokenizer.pad_token:
        raise WrongRequest(f"image_token {config.image_token!r} is the tokenizer's padding", "take another")
    ids = add_tokens(language, tokenizer, [config.image_token, *FAMILIES[config.family].tokens])
    sight = tower.sight
    shape = Shape(tower.model.config.hidden_size, language.config.hidden_size, sight.rows, sight.rows)
    projector = make_projector(config.projector, shape, config.seed).to(dtype)
    seen = projector.image_tokens(sight.kept)
    model = join(config.family, lambda: llava_config(config, tower, language, ids, seen), tower.model, language)
    place(model, projector, config.seed)
    processor = make_processor(config, tower, tokenizer, seen)
    return Built(model, processor, config.projector, sight)


def llava_config(config: ModelConfig, tower: Tower, language: Any, ids: list[int], seen: int) -> Any:
    """The family's transformers configuration."""
    import transformers

    return getattr(transformers, FAMILIES[config.family].config)(
        vision_config=tower.model.config,
        text_config=language.config,
        image_token_index=ids[0],
        vision_feature_layer=config.tower.layer,
        vision_feature_select_strategy=tower.sight.strategy,
        projector_hidden_act="linear" if config.projector.kind == "linear" else "gelu",
        tie_word_embeddings=language.config.tie_word_embeddings,
        **family_settings(config, tower.sight, ids, seen),
    )


def join(family: str, settings: Callable[[], Any], tower: Any, language: Any) -> Any:
    """A model of the family's class around tower and language model. Its projector is empty: `place` puts one there.

    `settings` makes its transformers configuration around those of the two. Raises WrongRequest for a language model
    which that class cannot hold, or of which it would compute other logits.
    """
    import torch
    import transformers

    expected = _logits(language)
    attention = [(part.config, part.config._attn_implementation) for part in (tower, language)]
    with torch.device("meta"):
        model = getattr(transformers, FAMILIES[family].model)(settings())
    for part, implementation in attention:  # transformers sets them back to its default in each part it joins
        part._attn_implementation = implementation
    decoder, head = language.base_model, language.get_output_embeddings()
    if type(model.model.language_model) is not type(decoder) or head.bias is not None:
        raise _unfit(language, "its decoder and head are not of the plain make")
    model.model.vision_tower, model.model.language_model, model.lm_head = tower, decoder, head
    model.generation_config = language.generation_config
    model.is_loaded_in_4bit = getattr(language, "is_loaded_in_4bit", False)  # peft looks for it
    if not torch.equal(_logits(model), expected):
        raise _unfit(language, "it does more behind its decoder than a head does (scaled or capped logits)")
    return model.eval()


def place(model: Any, projector: Projector, seed: int) -> None:
    """Put the projector where it belongs, and LLaVA-NeXT's newline token beside it, with its first values."""
    import torch

    model.model.multi_modal_projector = projector.train(model.training)
    newline = getattr(model.model, "image_newline", None)
    if newline is not None and newline.is_meta:
        width, dtype = newline.shape[0], next(projector.parameters()).dtype
        values = torch.randn(width, generator=torch.Generator().manual_seed(seed)) / width**0.5
        model.model.image_newline = torch.nn.Parameter(values.to(dtype))
    empty = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if empty:
        raise WrongRequest(f"the parts leave {empty[0]} without values", "take other parts")


def _logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(1, 9, device=model.get_output_embeddings().weight.device)[None]).logits


def _unfit(language: Any, why: str) -> WrongRequest:
    return WrongRequest(
        f"the language model, a {type(language).__name__}, cannot be part of transformers' LLaVA: {why}",
        "take a Llama, Mistral or Qwen2, or another whose text model has just a linear head",
    )
