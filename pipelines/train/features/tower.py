"""A vision tower beside its model: it sees what no file has features of; in its place stands what hands features on.

What is kept is what enters the projector: hidden states of the configured layer, without the token that the model
takes away. The tower must be frozen, as it is in every plan of `freeze`.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.train.batches.images import Pixels
from pipelines.train.features.cache import FeatureCache
from pipelines.train.features.identity import fingerprint, identity
from pipelines.train.features.pixels import CachedPixels, Pictures, fill
from pipelines.train.models import Built
from schemas.errors import WrongRequest
from schemas.train_loop import FeatureConfig

CARD = "features.json"


class Handed(nn.Module):
    """Stands where the tower stood: `pixel_values` are features, and come out as the model looks for them."""

    def __init__(self, layer: int, drops: bool) -> None:
        """`drops`: the model takes the first token away."""
        super().__init__()
        self._layer, self._drops = layer, drops

    def forward(self, pixel_values: Tensor, **_: Any) -> Any:
        """(pictures, patches, width)."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        features = nn.functional.pad(pixel_values, (0, 0, 1, 0)) if self._drops else pixel_values
        return BaseModelOutputWithPooling(hidden_states=(features,) * -self._layer)  # pyright: ignore[reportArgumentType]


@dataclass
class Features:
    """A tower that was taken out of its model, and what it has seen."""

    tower: Any
    layer: int
    drops: bool
    cache: FeatureCache

    def pixels(self, inner: Pixels) -> Pixels:
        """`inner`, for what is not known."""
        return CachedPixels(inner, self.cache)

    def handed(self, inputs: dict[str, Any], device: Any) -> dict[str, Any]:
        """A model's inputs with features in the place of `features`. Call it where the model would be called: under
        autocast if that is."""
        pictures: Pictures | None = inputs.get("features")
        if pictures is None:
            return inputs
        missing = [row for row in pictures.missing if pictures.digests[row] not in self.cache]
        fill(self.cache, pictures.digests, [row for row in pictures.missing if row not in missing], pictures.rows)
        rows = pictures.rows.to(device, non_blocking=True)
        if missing:
            assert pictures.pixel_values is not None  # one for each that was missing
            wanted = [pictures.missing.index(row) for row in missing]
            seen = self.see(pictures.pixel_values[wanted].to(device, non_blocking=True))
            rows[missing] = seen
            for row, features in zip(missing, seen.cpu().view(torch.uint16).numpy(), strict=True):
                self.cache.add(pictures.digests[row], features.copy())
        pictures.looked = len(missing)
        given = {name: value for name, value in inputs.items() if name != "features"}
        return given | {"pixel_values": rows[pictures.places].to(self.tower.dtype)}

    def see(self, pixel_values: Tensor) -> Tensor:
        """(pictures, 3, side, side) → bfloat16 (pictures, patches, width).

        On the CPU one picture at a time, so that its last bits do not depend on what is beside it: then a run that is
        killed and goes on is the undisturbed one, whatever was written by then.
        """
        each = pixel_values.split(1) if pixel_values.device.type == "cpu" else [pixel_values]
        with torch.no_grad():
            return torch.cat([self._see(some).to(torch.bfloat16) for some in each])

    def _see(self, pixel_values: Tensor) -> Tensor:
        states = self.tower(pixel_values, output_hidden_states=True, return_dict=True).hidden_states[self.layer]
        return states[:, 1:] if self.drops else states


def take_out(built: Built, config: FeatureConfig, device: Any, autocast: bool, writer: str) -> Features:
    """The model's tower, taken out, and its features in the configured folder. `writer`: names the process among those
    that train now. Raises WrongRequest."""
    if built.family != "llava":
        raise WrongRequest(
            f"features: family {built.family} sees a picture as tiles, and their features are not kept",
            "take family: llava, or leave features out",
        )
    core, sight = built.core, built.sight
    layer, drops = core.config.vision_feature_layer, core.config.vision_feature_select_strategy == "default"
    told = identity(built, device, autocast)
    folder = _folder(config.folder, told)
    shape = (sight.rows**2 + sight.leading - drops, core.config.vision_config.hidden_size)
    tower, core.model.vision_tower = core.model.vision_tower, Handed(layer, drops)
    name = hashlib.sha256(writer.encode()).hexdigest()[:16]
    return Features(tower, layer, drops, FeatureCache(folder, shape, config, name))


def _folder(name: str, told: dict[str, Any]) -> Path:
    """The folder of an identity, with a card that says what it is."""
    if "://" in name:
        raise WrongRequest(f"features.folder {name!r} is no local folder", "name one: its files are memory-mapped")
    folder = Path(name) / fingerprint(told)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CARD).exists():
            (folder / CARD).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise WrongRequest(f"features.folder {name!r} cannot be written: {error.strerror}", "name another") from error
    return folder
