"""The three families of transformers' LLaVA: which classes, which configuration, which processor."""

from dataclasses import dataclass
from typing import Any

from pipelines.train.anyres import pinpoints
from pipelines.train.chat import set_template
from pipelines.train.towers import Sight, Tower
from schemas.errors import WrongRequest
from schemas.train import ModelConfig

VIDEO = "<video>"
"""LLaVA-OneVision has a token for videos, too."""


@dataclass(frozen=True)
class Family:
    """Names of transformers' classes."""

    model: str
    config: str
    processor: str
    tokens: tuple[str, ...] = ()
    """Special tokens beside the picture's."""


FAMILIES = {
    "llava": Family("LlavaForConditionalGeneration", "LlavaConfig", "LlavaProcessor"),
    "llava_next": Family("LlavaNextForConditionalGeneration", "LlavaNextConfig", "LlavaNextProcessor"),
    "llava_onevision": Family(
        "LlavaOnevisionForConditionalGeneration", "LlavaOnevisionConfig", "LlavaOnevisionProcessor", (VIDEO,)
    ),
}


def check_tiles(config: ModelConfig, tower: Tower) -> None:
    """Raises WrongRequest where a family with tiles cannot take the tower."""
    if config.family == "llava":
        return
    sight, made_for = tower.sight, tower.model.config.image_size
    if sight.kept:
        raise WrongRequest(
            f"family {config.family} has no place for the registers of {config.tower.model}", "take family: llava"
        )
    if sight.side != made_for:
        raise WrongRequest(
            f"family {config.family} counts in tiles of {made_for} pixels, what {config.tower.model} was made for, "
            f"and not of {sight.side}",
            f"set tower.side: {made_for}",
        )


def settings(config: ModelConfig, sight: Sight, ids: list[int], seen: int) -> dict[str, Any]:
    """The family's own settings in its transformers configuration. `seen`: image tokens of a square."""
    if config.family == "llava":
        return {"image_seq_length": seen}
    points = pinpoints(config.anyres, sight.side)
    if config.family == "llava_next":
        return {"image_grid_pinpoints": points, "image_seq_length": seen}
    aspect = f"anyres_max_{config.anyres.most}"
    return {"image_grid_pinpoints": points, "video_token_index": ids[1], "vision_aspect_ratio": aspect}


def make_processor(config: ModelConfig, tower: Tower, tokenizer: Any, seen: int) -> Any:
    """The family's processor, that transformers' AutoProcessor loads again. `seen`: image tokens of a square."""
    import transformers

    sight = tower.sight
    own: dict[str, Any] = {"vision_feature_select_strategy": sight.strategy}
    if config.family == "llava_onevision":
        own |= {
            "num_image_tokens": sight.rows**2 + sight.leading,
            "vision_aspect_ratio": f"anyres_max_{config.anyres.most}",
            "video_token": VIDEO,
            "video_processor": transformers.LlavaOnevisionVideoProcessor(
                size={"height": sight.side, "width": sight.side}, **_colours(tower.processor)
            ),
        }
    elif seen == sight.rows**2 + sight.kept:
        own |= {"patch_size": sight.patch, "num_additional_image_tokens": sight.leading}
    else:  # a projector that gives fewer tokens: the processor's arithmetic, with the difference as an addend
        own |= {"patch_size": sight.patch, "num_additional_image_tokens": seen - sight.rows**2}
        own["vision_feature_select_strategy"] = "full"
    processor = getattr(transformers, FAMILIES[config.family].processor)(
        image_processor=_pictures(config, tower), tokenizer=tokenizer, image_token=config.image_token, **own
    )
    if isinstance(tokenizer.chat_template, str):  # some tokenizers have several, by name
        set_template(processor, tokenizer.chat_template)
    return processor


def _pictures(config: ModelConfig, tower: Tower) -> Any:
    import transformers

    side, colours = tower.sight.side, _colours(tower.processor)
    square = {"height": side, "width": side}
    points = pinpoints(config.anyres, side)
    if config.family == "llava_next":
        return transformers.LlavaNextImageProcessor(
            size={"shortest_edge": side}, crop_size=square, image_grid_pinpoints=points, **colours
        )
    if config.family == "llava_onevision":
        return transformers.LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=points, **colours)
    if config.tower.fit == "pad":
        return transformers.LlavaImageProcessor(size={"shortest_edge": side}, crop_size=square, do_pad=True, **colours)
    own = tower.processor
    crops = getattr(own, "do_center_crop", False)
    size = {"size": {"shortest_edge": side}, "crop_size": square} if crops else {"size": square}
    return type(own)(**{**own.to_dict(), **size})


def _colours(processor: Any) -> dict[str, Any]:
    return {
        "image_mean": list(processor.image_mean),
        "image_std": list(processor.image_std),
        "resample": int(processor.resample),
    }
