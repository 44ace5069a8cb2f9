"""Vision towers: what transformers loads (CLIP, SigLIP, DINOv2), and ViTs of open_clip as CLIPVisionModel.

In: a TowerConfig. Out: the model, its image processor, and what a projector has to know of it. WrongRequest where the
name is nothing that can be loaded, weights are missing, or transformers' LLaVA has no place for the architecture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.train.loading import hub_errors, refuse_random
from schemas.errors import WrongRequest
from schemas.train import TowerConfig

_OPEN_CLIP = "open_clip_config.json"
_MODELS = {  # model_type of the configuration → class of the vision half
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
}
_STRETCHES = ("dinov2", "dinov2_with_registers")
"""Their embeddings of places are interpolated to any side; the others' are not, as LLaVA calls them."""


@dataclass(frozen=True)
class Sight:
    """How a tower sees one square picture: side and patch in pixels; `leading` tokens (CLS, registers) come first."""

    side: int
    patch: int
    leading: int

    @property
    def rows(self) -> int:
        """Rows of patches, and columns."""
        return self.side // self.patch

    @property
    def strategy(self) -> str:
        """transformers' vision_feature_select_strategy: `default` takes the first token away, `full` none."""
        return "default" if self.leading else "full"

    @property
    def kept(self) -> int:
        """Leading tokens that the strategy leaves among the features: DINOv2's registers."""
        return max(self.leading - 1, 0)


@dataclass(frozen=True)
class Tower:
    """A vision model, its own image processor, and how it sees."""

    model: Any
    processor: Any
    sight: Sight


def load_tower(config: TowerConfig, dtype: Any) -> Tower:
    """The tower in eval mode with parameters of `dtype`. Raises WrongRequest."""
    if _is_open_clip(config):
        from pipelines.train.open_clip_tower import convert

        model, processor = convert(config, dtype)
    else:
        model, processor = _transformers(config, dtype)
    if not -model.config.num_hidden_layers - 1 <= config.layer:
        raise WrongRequest(
            f"tower.layer {config.layer}: {config.model} has {model.config.num_hidden_layers} layers",
            "take a later one",
        )
    return Tower(model.eval(), processor, sight_of(model.config, _side(config, model.config, processor)))


def sight_of(vision: Any, side: int) -> Sight:
    """From a transformers configuration of a vision model."""
    leading = {"siglip_vision_model": 0}.get(vision.model_type, 1 + getattr(vision, "num_register_tokens", 0))
    return Sight(side, vision.patch_size, leading)


def shown(processor: Any) -> int | None:
    """Side of the squares that an image processor gives, in pixels; null: it gives none."""
    sizes = [size for size in (getattr(processor, "crop_size", None), getattr(processor, "size", None)) if size]
    for size in sizes:
        found = {size.get(name) for name in ("height", "width", "shortest_edge")} - {None}
        if len(found) == 1:
            return int(found.pop())
    return None


def _is_open_clip(config: TowerConfig) -> bool:
    named = config.model.startswith(("local-dir:", "hf-hub:")) or config.pretrained is not None
    return named or (Path(config.model) / _OPEN_CLIP).is_file()


def _transformers(config: TowerConfig, dtype: Any) -> tuple[Any, Any]:
    import transformers

    with hub_errors("tower.model", config.model):
        kind = transformers.AutoConfig.from_pretrained(config.model).model_type
        if kind not in _MODELS:
            raise WrongRequest(
                f"tower.model {config.model!r} is a {kind}", "take a CLIP, SigLIP or DINOv2, or a ViT of open_clip"
            )
        model, found = getattr(transformers, _MODELS[kind]).from_pretrained(
            config.model, dtype=dtype, output_loading_info=True
        )
        processor = transformers.AutoImageProcessor.from_pretrained(config.model)
    refuse_random("tower.model", config.model, found)
    return model, processor


def _side(config: TowerConfig, vision: Any, processor: Any) -> int:
    own = vision.image_size
    side = config.side or (shown(processor) if vision.model_type in _STRETCHES else own) or own
    if vision.model_type not in _STRETCHES and side != own:
        raise WrongRequest(f"tower.side {side}: {config.model} sees {own} pixels and no other", "leave tower.side out")
    if side % vision.patch_size:
        raise WrongRequest(
            f"tower.side {side} is no multiple of {config.model}'s patches of {vision.patch_size} pixels",
            f"take {side - side % vision.patch_size or vision.patch_size}",
        )
    return side
