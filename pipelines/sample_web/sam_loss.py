"""What the small SAM is told about its masks, and what its encoder is told before there are any."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.sample_web.sam_files import CHANNELS, MASK_SIDE, PATCH, SIDE

if TYPE_CHECKING:
    import torch

_EVENLY = 0.1
"""Share of the loss that goes to all masks of a prompt and not to the best alone, so that none of them is idle."""
_LEAST_AREA = 576.0
"""Pixels added to an object's area before its pixels' losses are divided by it."""


@dataclass(frozen=True, slots=True)
class Told:
    """Losses of prompts: of the masks, of the predicted IoU; and the true IoU of the best mask, for the log."""

    mask: "torch.Tensor"
    iou: "torch.Tensor"
    best: "torch.Tensor"


def at_pixels(logits: "torch.Tensor") -> "torch.Tensor":
    """Logits (..., MASK_SIDE, MASK_SIDE) at the pixels of the model's square, as SAM's processor brings them there."""
    from torch.nn.functional import interpolate

    flat = logits.reshape(-1, 1, *logits.shape[-2:])
    return interpolate(flat, size=(SIDE, SIDE), mode="bilinear").reshape(*logits.shape[:-2], SIDE, SIDE)


def mask_loss(logits: "torch.Tensor", target: "torch.Tensor") -> "torch.Tensor":
    """Cross entropy and dice of logits (..., masks, rows, columns) against coverage (..., rows, columns) in 0-1.

    One number for each mask, (..., masks). Logits are those of `at_pixels`: it is their interpolation that must meet
    the true edge. Coverage is soft; dice is the form with squares, which a soft target minimises. Not focal loss, as
    SAM has it: its logits stay near the threshold, and stability is measured there.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits

    wanted = target[..., None, :, :].expand_as(logits)
    crossed = binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum((-2, -1))
    shown = logits.sigmoid()
    both = (shown * wanted).sum((-2, -1))
    dice = 1 - (2 * both + 1) / ((shown**2).sum((-2, -1)) + (wanted**2).sum((-2, -1)) + 1)
    return crossed / (2 * (wanted.sum((-2, -1)) + _LEAST_AREA)) + dice


def told(logits: "torch.Tensor", predicted: "torch.Tensor", target: "torch.Tensor", real: "torch.Tensor") -> Told:
    """Of prompts (n, masks, rows, columns), their predicted IoU (n, masks) and coverage (n, rows, columns).

    `real` (n,) is false for a point on the background: its masks are free, and their IoU is 0.
    """
    each = mask_loss(logits[real], target[real])
    mask = (1 - _EVENLY) * each.min(1).values.mean() + _EVENLY * each.mean()
    true = true_iou(logits.detach(), target) * real[:, None]
    return Told(mask, (predicted - true).square().mean(), true[real].max(1).values.mean())


def true_iou(logits: "torch.Tensor", target: "torch.Tensor") -> "torch.Tensor":
    """IoU of masks (n, masks, rows, columns) cut at 0 with coverage (n, rows, columns) cut at one half."""
    found, wanted = logits > 0, (target >= 0.5)[:, None]
    both, either = (found & wanted).sum((2, 3)), (found | wanted).sum((2, 3))
    return both / either.clamp(min=1)


def new_teacher() -> Any:
    """Reads from each patch of the encoder's output how much of its 4 × 4 cells shows an object, how much an edge
    between one and anything else, and where the box of the patch's object ends. Not kept."""
    import torch

    return torch.nn.Conv2d(CHANNELS, 2 * (MASK_SIDE * PATCH // SIDE) ** 2 + 4, 1)


def look_loss(read: "torch.Tensor", coverage: "torch.Tensor", boxes: "torch.Tensor") -> "torch.Tensor":
    """Loss of what `new_teacher` read, (n, 36, rows, columns), against coverage (n, objects, SIDE, SIDE), boxes
    (n, objects, 4) in pixels."""
    import torch
    from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, pixel_shuffle

    cells = read.shape[1] - 4
    shown = pixel_shuffle(read[:, :cells], int((cells // 2) ** 0.5))
    coverage = avg_pool2d(coverage, coverage.shape[2] // shown.shape[2])
    anything = coverage.sum(1).clamp(max=1)
    edge = (4 * coverage * (1 - coverage)).amax(1)
    crossed = binary_cross_entropy_with_logits(shown, torch.stack((anything, edge), 1))
    rows = read.shape[2]
    share = avg_pool2d(coverage, coverage.shape[2] // rows)
    most, which = share.max(1)
    ends = boxes[torch.arange(len(boxes))[:, None, None], which] / SIDE
    line = (torch.arange(rows) + 0.5) / rows
    centre = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).repeat(1, 1, 2)
    error = (read[:, cells:].permute(0, 2, 3, 1) - 4 * (ends - centre)).abs().mean(-1)
    return crossed + (error * most).sum() / most.sum().clamp(min=1)


def picked(rows: "torch.Tensor", which: "torch.Tensor") -> "torch.Tensor":
    """Of each prompt's object: rows (n, objects, …) as (n, prompts, …)."""
    import torch

    return rows[torch.arange(len(rows))[:, None], which.clamp(min=0)]
