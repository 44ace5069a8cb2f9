"""What the small vision tower learns: its features are read, patch by patch, by a teacher that is thrown away, and its
pooled vector goes towards the small CLIP's code."""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from pipelines.sample_web.scenes import MAX_OBJECTS
from pipelines.sample_web.shapes import Colour, Shape, Size
from pipelines.sample_web.tower_files import ROWS, WIDTH

_KINDS = [1, len(Colour), len(Shape)]
_OBJECT = [1, len(Colour), len(Shape), len(Size), 3]
_SURE, _SEEN = 0.3, 0.03
"""Share of a patch from which what lies in it counts fully, and from which it counts at all."""


class Truth(NamedTuple):
    """Of B pictures."""

    objects: torch.Tensor
    """float32 (B, MAX_OBJECTS, 6), as `tower_data.Drawn` has it."""
    coverage: torch.Tensor
    """float32 (B, MAX_OBJECTS, ROWS²), 0-1."""
    grey: torch.Tensor
    """bool (B,)"""


class Teacher(nn.Module):
    """Reads patches of the layer that gives the features, and of one in the middle, linearly after a norm.

    Of the first: something or nothing, colour and shape of what covers most of the patch; whether an object's centre
    is in it, that object's colour, shape and size, where in the patch the centre is and how large the radius.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(_KINDS) + sum(_OBJECT)))
        self.early = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(_KINDS)))

    def loss(self, features: torch.Tensor, middle: torch.Tensor, truth: Truth) -> tuple[torch.Tensor, dict[str, float]]:
        """Features (B, ROWS², WIDTH). Also: shares of objects whose colour, shape are read right at their centre."""
        patches, objects = self.read(features).split([sum(_KINDS), sum(_OBJECT)], -1)
        found, facts = _objects(objects, truth)
        return _patches(patches, truth) + 0.3 * _patches(self.early(middle), truth) + found, facts


def covering(truth: Truth) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(share, colour, shape) of what covers most of each patch, (B, ROWS²) each."""
    share, which = truth.coverage.max(1)
    colour, shape = (truth.objects[:, :, k].long().clamp(min=0).gather(1, which) for k in (3, 4))
    return share, colour, shape


def centres(truth: Truth) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(which objects are there, bool (B, MAX_OBJECTS); their centres in patches; the patch of each)."""
    real, at = truth.objects[:, :, 0] >= 0, truth.objects[:, :, :2] * ROWS
    cell = at.floor().clamp(0, ROWS - 1).long()
    return real, at - cell, cell[..., 1] * ROWS + cell[..., 0]


def code_loss(said: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """1 − cosine. said (B, CODE); codes (B, CODE), unit length."""
    return (1 - (normalize(said, dim=-1) * codes).sum(-1)).mean()


def _patches(read: torch.Tensor, truth: Truth) -> torch.Tensor:
    there, colours, shapes = read.split(_KINDS, -1)
    share, colour, shape = covering(truth)
    weight = (share / _SURE).clamp(max=1) * (share > _SEEN)
    coloured = weight * (~truth.grey)[:, None]
    total = truth.coverage.sum(1).clamp(max=1)
    loss = binary_cross_entropy_with_logits(there.squeeze(-1), total)
    return loss + _weighted(colours, colour, coloured) + _weighted(shapes, shape, weight)


def _weighted(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    each = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    return (each * weight.flatten()).sum() / weight.sum().clamp(min=1)


def _objects(read: torch.Tensor, truth: Truth) -> tuple[torch.Tensor, dict[str, float]]:
    there, colours, shapes, sizes, where = read.split(_OBJECT, -1)
    real, inside, patch = centres(truth)
    rows, at = torch.arange(len(read))[:, None].expand(-1, MAX_OBJECTS)[real], patch[real]
    present = torch.zeros(there.shape[:2])
    present[rows, at] = 1
    colour, shape, size = (truth.objects[:, :, k][real].long() for k in (3, 4, 5))
    target = torch.cat([inside[real] - 0.5, truth.objects[:, :, 2][real][:, None] * ROWS], 1)
    coloured = ~truth.grey[rows]
    said = colours[rows, at], shapes[rows, at]
    loss = 3 * binary_cross_entropy_with_logits(there.squeeze(-1), present, pos_weight=torch.tensor(2.0))
    loss = loss + cross_entropy(said[0][coloured], colour[coloured]) + cross_entropy(said[1], shape)
    loss = loss + 0.5 * cross_entropy(sizes[rows, at], size) + 2 * (where[rows, at] - target).square().mean()
    right: Any = (said[0].argmax(-1) == colour)[coloured].float().mean(), (said[1].argmax(-1) == shape).float().mean()
    return loss, {"colour": float(right[0]), "shape": float(right[1])}
