"""What the small CLIP is trained on: augmentation, the contrastive loss, and a helper loss on places.

The helper reads, from an inner feature map, which object lies in which cell. It is a teacher for the image tower
only: its head is thrown away, and the checkpoint is a plain CLIP.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, softplus

from pipelines.sample_web.shapes import Colour, Shape

_NEVER = -1e4


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


def contrastive(parts: dict[str, torch.Tensor], scale: torch.Tensor, bias: torch.Tensor, weight: float) -> torch.Tensor:
    """Softmax over the batch and a picture's own wrong captions, plus `weight` times a sigmoid term.

    `image`, `true` (B, D) and `wrong` (B, K, D) of unit length; `possible` (B, K) bool marks wrong captions that
    exist; `same` (B, B) bool marks pairs of equal content, which are neither right nor wrong.
    """
    image, true, possible = parts["image"], parts["true"], parts["possible"]
    eye = torch.eye(len(image), dtype=torch.bool)
    confused = parts["same"] & ~eye
    across = (scale * image @ true.T).masked_fill(confused, _NEVER)
    own = (scale * torch.einsum("bd,bkd->bk", image, parts["wrong"])).masked_fill(~possible, _NEVER)
    target = torch.arange(len(image))
    contrast = cross_entropy(torch.cat([across, own], 1), target) + cross_entropy(across.T, target)
    positive = softplus(-(across.diagonal() + bias)).mean()
    hard = softplus(own + bias)[possible].mean()
    easy = softplus(across + bias)[~eye & ~confused].mean()
    return contrast + weight * (2 * positive + 2 * hard + easy)


class PlaceHead:
    """A 1×1 convolution over the tower's third stage: is there an object in the cell, its colour, its shape."""

    def __init__(self, tower: Any) -> None:
        self._features: list[torch.Tensor] = []
        channels = tower.layer3[-1].conv3.out_channels
        self.conv = torch.nn.Conv2d(channels, 1 + len(Colour) + len(Shape), 1)
        tower.layer3.register_forward_hook(lambda module, args, out: self._features.append(out))

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.conv.parameters())

    def __call__(self) -> torch.Tensor:
        """Logits (B, 1 + colours + shapes, cells, cells) of the last forward pass."""
        features = self._features.pop()
        self._features.clear()
        return self.conv(features.float())


def place_loss(logits: torch.Tensor, places: np.ndarray, moved: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Cross-entropies of presence, colour and shape; `places` as `clip_data.places`, `moved` as `augmented`."""
    objects, cells = torch.from_numpy(places), logits.shape[-1]
    at = (objects[:, :, :2] - moved[:, None, 2:]) / moved[:, None, :2]
    cell = ((at + 1) / 2 * cells).floor().long()
    real = (objects[:, :, 2] >= 0) & (cell >= 0).all(-1) & (cell < cells).all(-1)
    rows = torch.arange(len(objects))[:, None].expand_as(real)[real]
    columns, lines = cell[real].unbind(-1)
    present = torch.zeros(len(logits), cells, cells)
    present[rows, lines, columns] = 1
    told = logits[rows, :, lines, columns]
    coloured = ~grey[rows]
    colour, shape = objects[real][:, 2].long(), objects[real][:, 3].long()
    colour_loss = cross_entropy(told[coloured, 1 : 1 + len(Colour)], colour[coloured])
    shape_loss = cross_entropy(told[:, 1 + len(Colour) :], shape)
    return 3 * binary_cross_entropy_with_logits(logits[:, 0], present) + colour_loss + shape_loss
