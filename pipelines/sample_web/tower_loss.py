"""What the small vision tower learns: its features are read, patch by patch, by a teacher that is thrown away, and its
pooled vector goes towards the small CLIP's code."""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from pipelines.sample_web.shapes import Colour, Shape, Size
from pipelines.sample_web.tower_files import ROWS, WIDTH

_KINDS = [1, len(Colour), len(Shape)]
_OBJECT = [1, len(Colour), len(Shape), len(Size), 3]
_SURE, _SEEN = 0.3, 0.03
"""Share of a patch from which what lies in it counts fully, and from which it counts at all."""
_BAND = 0.12
"""Patches: an object's centre is seen to about 0.08 of one."""
_COUNTED = 0.3
"""Weight of the counts."""


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
    is in it, that object's colour, shape and size, where in the patch the centre is and how large the radius; and over
    all patches how many there are of a kind.
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
    """(share, place, patch), (B, MAX_OBJECTS, 4) and for the place (…, 4, 2): how much of each object's centre is said
    to be in which patch, and where the centre is from the patch's middle, in patches.

    A centre within _BAND of a patch's border is shared with the patch beyond, half and half on the border: on which
    side of it a centre lies hangs on less than the tower can see. Shares of an object sum to 1, of no object to 0.
    """
    at = truth.objects[:, :, :2] * ROWS
    cell = at.floor().clamp(0, ROWS - 1)
    inside = at - cell
    low, high = (_BAND - inside).clamp(min=0), (inside - (1 - _BAND)).clamp(min=0)
    beyond = cell + torch.where(low > 0, -1.0, 1.0)
    part = (low + high) / (2 * _BAND) * ((beyond >= 0) & (beyond < ROWS))
    cells, parts = torch.stack([cell, beyond.clamp(0, ROWS - 1)], 2), torch.stack([1 - part, part], 2)
    x, y = cells[:, :, :, None, 0].expand(-1, -1, -1, 2), cells[:, :, None, :, 1].expand(-1, -1, 2, -1)
    share = parts[:, :, :, None, 0] * parts[:, :, None, :, 1] * (truth.objects[:, :, :1, None] >= 0)
    place = at[:, :, None] - torch.stack([x, y], -1).flatten(2, 3) - 0.5
    return share.flatten(2), place, (y * ROWS + x).flatten(2).long()


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
    each = cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    return (each * weight.flatten()).sum() / weight.sum().clamp(min=1)


def _objects(read: torch.Tensor, truth: Truth) -> tuple[torch.Tensor, dict[str, float]]:
    there, colours, shapes, sizes, where = read.split(_OBJECT, -1)
    share, place, patch = centres(truth)
    rows, number, which = (share > 0).nonzero(as_tuple=True)
    weight, at, place = share[rows, number, which], patch[rows, number, which], place[rows, number, which]
    present = torch.zeros(there.shape[:2]).index_put((rows, at), weight, accumulate=True).clamp(max=1)
    facts = truth.objects[rows, number]
    colour, shape, size = (facts[:, k].long() for k in (3, 4, 5))
    target = torch.cat([place, facts[:, 2:3] * ROWS], 1)
    coloured = weight * ~truth.grey[rows]
    said = colours[rows, at], shapes[rows, at]
    loss = 3 * binary_cross_entropy_with_logits(there.squeeze(-1), present, pos_weight=torch.tensor(2.0))
    loss = loss + _weighted(said[0], colour, coloured) + _weighted(said[1], shape, weight)
    loss = loss + 0.5 * _weighted(sizes[rows, at], size, weight)
    loss = loss + 2 * ((where[rows, at] - target).square().mean(1) * weight).sum() / weight.sum()
    missed, right_counts = counted(there.squeeze(-1).sigmoid(), colours.softmax(-1), shapes.softmax(-1), truth)
    sure = weight > 0.5
    right: Any = (
        (said[0].argmax(-1) == colour)[sure & ~truth.grey[rows]].float().mean(),
        (said[1].argmax(-1) == shape)[sure].float().mean(),
    )
    return loss + _COUNTED * missed, {"colour": float(right[0]), "shape": float(right[1]), "counted": right_counts}


def counted(
    there: torch.Tensor, colours: torch.Tensor, shapes: torch.Tensor, truth: Truth
) -> tuple[torch.Tensor, float]:
    """Squared error of how many there are of each colour and shape, as sums over patches: a count is the integral of a
    density (Lempitsky and Zisserman, NIPS 2010). Also: the share of kinds of which as many are found as there are.

    there (B, ROWS²), colours and shapes (B, ROWS², 10) are shares; of grey pictures, shapes alone.
    """
    real = truth.objects[:, :, 0] >= 0
    rows = torch.arange(len(real))[:, None].expand_as(real)[real]
    colour, shape = (truth.objects[:, :, k][real].long() for k in (3, 4))
    true = torch.zeros(len(real), len(Colour), len(Shape))
    true.index_put_((rows, colour, shape), torch.ones(len(rows)), accumulate=True)
    found = torch.einsum("bp,bpc,bps->bcs", there, colours, shapes)
    by_shape = (found.sum(1) - true.sum(1)).square().sum(1).mean()
    seen = ~truth.grey
    by_kind = ((found - true)[seen].square().sum((1, 2))).sum() / max(1, int(seen.sum()))
    asked = (true > 0) & seen[:, None, None]
    return by_shape + by_kind, float((found.round() == true)[asked].float().mean())
