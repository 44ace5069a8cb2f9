"""What the small CLIP's image tower learns: augmentation, teachers that look inside the tower, and the code loss.

The teachers read inner feature maps: what lies in each cell, and how many of each kind lie around it. They are for
training only: their heads are thrown away, and the checkpoint is a plain open_clip one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from pipelines.sample_web.clip_codes import KINDS
from pipelines.sample_web.shapes import Colour, Shape

_NEVER = -1e4
_SHARPNESS = 20.0
"""Logits of the code loss are cosines times this."""
_STEEPNESS, _KNOTS = 6.0, (0.3, 1.0, 2.0, 3.0)


def pixels(pictures: np.ndarray, grey: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W, 3) to normalised float32 (B, 3, H, W); rows marked grey lose their colour."""
    pictures = np.array(pictures)
    luma = pictures[grey] @ np.asarray((0.299, 0.587, 0.114), np.float32)
    pictures[grey] = np.rint(luma)[..., None].astype(np.uint8)
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    return x.div_(255 * 0.25).sub_(2.0)


def augmented(x: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Brightness ±20 %, a crop of up to 5 % a side, shifts: what near duplicates go through.

    Returns the pictures and, per picture, (scale x, scale y, shift x, shift y) of the crop in grid_sample's frame.
    """
    n = len(x)
    u = torch.rand(5, n, generator=generator)
    gain = (0.8 + 0.4 * u[0]).view(-1, 1, 1, 1)
    x = ((x + 2.0) * gain).clamp_(0, 4).sub_(2.0)
    moved = torch.stack([0.92 + 0.1 * u[1], 0.92 + 0.1 * u[2], (u[3] - 0.5) * 0.05, (u[4] - 0.5) * 0.05], 1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, 0, 2], theta[:, 1, 2] = moved.unbind(1)
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False), moved


class Seen(NamedTuple):
    """What a batch of pictures holds: `places` as `clip_data.places`, `moved` as `augmented`, `grey` bool (B,)."""

    places: torch.Tensor
    moved: torch.Tensor
    grey: torch.Tensor

    def located(self, cells: int) -> torch.Tensor:
        """Centres in units of cells: float (B, objects, 2)."""
        at = (self.places[:, :, :2] - self.moved[:, None, 2:]) / self.moved[:, None, :2]
        return (at + 1) / 2 * cells

    def kinds(self) -> torch.Tensor:
        """Row of `clip_codes.directions` of each object, int64 (B, objects); of no meaning where there is none."""
        colour, shape = self.places[..., 2], self.places[..., 3]
        return torch.where(self.grey[:, None], KINDS + shape, colour * len(Shape) + shape).long()


class Teachers:
    """1×1 convolutions over the tower's last two stages.

    `places` (B, 1 + KINDS, 8, 8): is there an object in the cell, and of which kind. `sums` (B, KINDS + shapes, 4, 4):
    how many of each kind, or of each shape where the picture is grey, lie in and around the cell; they add up to the
    picture's counts.
    """

    def __init__(self, trunk: Any) -> None:
        self._found: dict[str, torch.Tensor] = {}
        channels = [info["num_chs"] for info in trunk.feature_info[-2:]]
        self.places = torch.nn.Conv2d(channels[0], 1 + KINDS, 1)
        self.sums = torch.nn.Conv2d(channels[1], KINDS + len(Shape), 1)
        for name, stage in zip(("places", "sums"), trunk.stages[-2:], strict=True):
            stage.register_forward_hook(lambda module, args, out, name=name: self._found.update({name: out}))

    def parameters(self) -> list[torch.nn.Parameter]:
        return [*self.places.parameters(), *self.sums.parameters()]

    def loss(self, seen: Seen) -> torch.Tensor:
        """Of the last forward pass."""
        places, sums = self.places(self._found["places"].float()), self.sums(self._found["sums"].float())
        return place_loss(places, seen) + sums_loss(sums, seen)


def place_loss(logits: torch.Tensor, seen: Seen) -> torch.Tensor:
    """Cross-entropies of presence and kind, of the shape alone where the picture is grey."""
    cells = logits.shape[-1]
    cell = seen.located(cells).floor().long()
    real = (seen.places[:, :, 2] >= 0) & (cell >= 0).all(-1) & (cell < cells).all(-1)
    rows = torch.arange(len(logits))[:, None].expand_as(real)[real]
    columns, lines = cell[real].unbind(-1)
    present = torch.zeros(len(logits), cells, cells)
    present[rows, lines, columns] = 1
    told, grey = logits[rows, :, lines, columns][:, 1:], seen.grey[rows]
    loss = 3 * binary_cross_entropy_with_logits(logits[:, 0], present)
    if (~grey).any():
        loss = loss + cross_entropy(told[~grey], seen.kinds()[real][~grey])
    if grey.any():
        shapes = torch.logsumexp(told[grey].view(-1, len(Colour), len(Shape)), 1)
        loss = loss + cross_entropy(shapes, seen.places[..., 3].long()[real][grey])
    return loss


def sums_loss(predicted: torch.Tensor, seen: Seen) -> torch.Tensor:
    """Squared errors per picture: of each cell's sums, an object counting for the four nearest cells, and of all."""
    error = predicted - _spread(predicted, seen)
    return error.square().sum((1, 2, 3)).mean() + error.sum((2, 3)).square().sum(1).mean()


def _spread(like: torch.Tensor, seen: Seen) -> torch.Tensor:
    """Objects as bilinear weights on the four nearest cell centres: shaped as `like`, (B, kinds, n, n)."""
    n = like.shape[-1]
    at = (seen.located(n) - 0.5).clamp(0, n - 1)
    corner = at.floor().clamp(max=n - 2).long()
    share = at - corner
    real = seen.places[:, :, 2] >= 0
    rows = torch.arange(len(like))[:, None].expand_as(real)[real]
    kinds = seen.kinds()[real]
    (column, line), (right, down) = corner[real].unbind(-1), share[real].unbind(-1)
    target = torch.zeros_like(like)
    for x, to_the_right in ((0, 1 - right), (1, right)):
        for y, below in ((0, 1 - down), (1, down)):
            target.index_put_((rows, kinds, line + y, column + x), to_the_right * below, accumulate=True)
    return target


def code_loss(embedding: torch.Tensor, codes: torch.Tensor, wrong: torch.Tensor, possible: torch.Tensor) -> Any:
    """Nearer to its own code (B, D) than to the batch's others and to its hard negatives' `wrong` (B, K, D), where
    `possible` (B, K); and near to it, the farthest most: the lowest scores of true pairs decide every threshold."""
    embedding = normalize(embedding.float(), dim=-1)
    own = torch.einsum("bd,bkd->bk", embedding, wrong).masked_fill(~possible, _NEVER)
    logits = _SHARPNESS * torch.cat([embedding @ codes.T, own], 1)
    far = 1 - (embedding * codes).sum(1)
    return cross_entropy(logits.clamp(min=_NEVER), torch.arange(len(codes))) + (2 * far + 12 * far.square()).mean()


def lay_out_head(head: Any, sums: torch.nn.Conv2d, cells: int, table: np.ndarray) -> None:
    """Start the tower's head (Linear, GELU, Linear; at least 4 hidden units for each sum) from what the sums say.

    Hidden unit (j, k) is the ramp max(0, count of kind k − knot j), written with a sharp GELU; the second layer joins
    the ramps to a broken line through the codes of 1, 2, 3 and 4 of the kind. Training goes on from there.
    """
    weight, bias = sums.weight.data[:, :, 0, 0] * cells, sums.bias.data * cells  # pyright: ignore[reportOptionalMemberAccess]
    kinds = len(bias)
    codes = [torch.from_numpy(table[:kinds, n]) for n in range(len(_KNOTS))]
    slopes = [codes[0] / (1 - _KNOTS[0]), *(b - a for a, b in pairwise(codes))]
    bends = [slopes[0], *(b - a for a, b in pairwise(slopes))]
    used = kinds * len(_KNOTS)
    with torch.no_grad():
        head.fc1.weight[used:].mul_(0.1)
        head.fc2.weight[:, used:].mul_(0.1)
        for j, (knot, bend) in enumerate(zip(_KNOTS, bends, strict=True)):
            units = slice(j * kinds, (j + 1) * kinds)
            head.fc1.weight[units] = _STEEPNESS * weight
            head.fc1.bias[units] = _STEEPNESS * (bias - knot)
            head.fc2.weight[:, units] = (bend / _STEEPNESS).T
