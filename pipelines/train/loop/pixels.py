"""Pictures as the model's own processor makes them: what is trained on is what the saved model sees later."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.train.batches.images import ModelPixels, Pixels
from pipelines.train.models import Built

if TYPE_CHECKING:
    import torch


def pixels_of(built: Built) -> ModelPixels:
    """With a name of all that decides how many tokens a picture becomes."""
    config = built.core.config
    points = getattr(config, "image_grid_pinpoints", None)
    told = {
        "family": built.family,
        "square": built.projector.image_tokens(built.sight.kept),
        "grids": None if points is None else [list(p) for p in points],
        "most": getattr(config, "vision_aspect_ratio", None),
    }
    return ModelPixels(built, json.dumps(told))


@dataclass
class Unseen:
    """Counts tokens as another `Pixels` does and decodes nothing: to find out how many batches there are."""

    inner: Pixels

    def tokens(self, pictures: Sequence[Any]) -> list[int]:
        return self.inner.tokens(pictures)

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        return [np.zeros((1, 1, 3), np.uint8)] * len(pictures)

    def tensors(self, conversations: "list[list[np.ndarray]]") -> "dict[str, torch.Tensor]":
        return {}

    def identity(self) -> dict[str, Any]:
        return self.inner.identity()
