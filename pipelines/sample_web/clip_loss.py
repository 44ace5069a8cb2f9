"""What the small CLIP is trained on: augmentation, the contrastive loss, and a teacher for the image tower.

The teacher knows the scenes: it asks the tower what lies where, and what is in the picture how often. Its heads are
thrown away, and the checkpoint is a plain CLIP.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, softplus

from pipelines.sample_web.scenes import MAX_COUNT
from pipelines.sample_web.shapes import Colour, Shape

_NEVER = -1e4
KINDS = len(Colour) * len(Shape)


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


class Teacher(torch.nn.Module):
    """Two linear heads on the image tower, thrown away after training.

    `places`: what lies in each cell of the third stage's map, with colour and shape as one of 100 kinds, so that what
    the tower pools is bound already. `content`: which kinds the picture holds and how many of each, from the embedding.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self._features: list[torch.Tensor] = []
        self.places = torch.nn.Conv2d(tower.layer3[-1].conv3.out_channels, 1 + KINDS, 1)
        self.content = torch.nn.Linear(tower.output_dim, KINDS * MAX_COUNT)
        tower.layer3.register_forward_hook(lambda module, args, out: self._features.append(out))

    def forward(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, 1 + KINDS, cells, cells) and (B, KINDS, MAX_COUNT) of the tower's last forward pass."""
        features = self._features.pop()
        self._features.clear()
        return self.places(features.float()), self.content(embedding.float()).view(-1, KINDS, MAX_COUNT)


def teacher_loss(
    logits: tuple[torch.Tensor, torch.Tensor], places: np.ndarray, moved: torch.Tensor, grey: torch.Tensor
) -> torch.Tensor:
    """The sum of both heads' losses; `places` as `clip_data.places`, `moved` as `augmented`.

    Grey pictures teach the shapes in their places and nothing else.
    """
    objects = torch.from_numpy(places)
    return place_loss(logits[0], objects, moved, grey) + content_loss(logits[1][~grey], objects[~grey])


def place_loss(logits: torch.Tensor, objects: torch.Tensor, moved: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Cross-entropies of presence in a cell and of the kind there (of the shape alone where the picture is grey)."""
    cells = logits.shape[-1]
    at = (objects[:, :, :2] - moved[:, None, 2:]) / moved[:, None, :2]
    cell = ((at + 1) / 2 * cells).floor().long()
    real = (objects[:, :, 2] >= 0) & (cell >= 0).all(-1) & (cell < cells).all(-1)
    rows = torch.arange(len(objects))[:, None].expand_as(real)[real]
    columns, lines = cell[real].unbind(-1)
    present = torch.zeros(len(logits), cells, cells)
    present[rows, lines, columns] = 1
    told = logits[rows, 1:, lines, columns].log_softmax(-1).view(-1, len(Colour), len(Shape))
    colour, shape, item = objects[real][:, 2].long(), objects[real][:, 3].long(), torch.arange(len(rows))
    by_shape = told.logsumexp(1)[item, shape]
    kind = torch.where(grey[rows], by_shape, told[item, colour, shape])
    return 3 * binary_cross_entropy_with_logits(logits[:, 0], present) - kind.mean()


def content_loss(logits: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Of each kind and each count, whether the picture holds exactly so many; summed over kinds and counts."""
    counts = torch.zeros(len(objects), KINDS)
    real = objects[:, :, 2] >= 0
    kind = (objects[:, :, 2] * len(Shape) + objects[:, :, 3]).long()
    rows = torch.arange(len(objects))[:, None].expand_as(real)[real]
    counts.index_put_((rows, kind[real]), torch.ones(len(rows)), accumulate=True)
    target = (counts[:, :, None] == torch.arange(1, MAX_COUNT + 1)).float()
    return binary_cross_entropy_with_logits(logits, target, reduction="sum") / max(1, len(objects))
