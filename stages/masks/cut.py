"""From a decoder's logits to masks at the size of their picture: stability, area, box."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.masks_config import EverythingConfig
from stages.masks.encoder import PictureEncoder, Size
from stages.masks.sam import Sam

if TYPE_CHECKING:
    import numpy as np
    import torch

_PIXELS = 2**25
"""Upscaled logits held at once, in pixels: 128 MiB of float32, and as much again while they are interpolated."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What is seen of m masks at the size of their picture."""

    stability: "torch.Tensor"
    """(m,); not a number where nothing is above the lower threshold."""
    areas: "torch.Tensor"
    """(m,), in pixels."""
    boxes: "torch.Tensor"
    """(m, 4): left, top, right, bottom; the last two inside. Without meaning for an empty mask."""

    def take(self, which: "torch.Tensor") -> "Looks":
        return Looks(self.stability[which], self.areas[which], self.boxes[which])

    @staticmethod
    def joined(parts: "list[Looks]") -> "Looks":
        import torch

        return Looks(
            torch.cat([p.stability for p in parts]),
            torch.cat([p.areas for p in parts]),
            torch.cat([p.boxes for p in parts]),
        )


def full_size(sam: PictureEncoder, logits: "torch.Tensor", size: Size) -> "Iterator[torch.Tensor]":
    """Logits (m, rows, columns) of one picture at its size, float32 (some, height, width), some at a time."""
    some = max(1, _PIXELS // max(sam.side**2, size[0] * size[1]))
    if len(logits):
        yield from (sam.upscaled(part, size) for part in logits.split(some))


def looked_at(sam: Sam, logits: "torch.Tensor", size: Size, config: EverythingConfig) -> Looks:
    """What is seen of masks (m, rows, columns) of one picture."""
    import torch

    seen = [_look(part, config) for part in full_size(sam, logits, size)]
    if seen:
        return Looks.joined(seen)
    none = torch.empty(0, device=logits.device)
    return Looks(none, none.long(), none.long().reshape(0, 4))


def masks(
    sam: Sam, logits: "torch.Tensor", size: Size, config: EverythingConfig, boxes: list[list[int]]
) -> "Iterator[np.ndarray]":
    """Each mask inside its box (`Looks.boxes`), bool."""
    full = (mask for part in full_size(sam, logits, size) for mask in part > config.threshold)
    for mask, (left, top, right, bottom) in zip(full, boxes, strict=True):
        yield mask[top : bottom + 1, left : right + 1].cpu().numpy()


def xywh(box: list[int]) -> tuple[int, int, int, int]:
    """Left, top, width, height of one of `Looks.boxes`."""
    left, top, right, bottom = box
    return left, top, right + 1 - left, bottom + 1 - top


def _look(logits: "torch.Tensor", config: EverythingConfig) -> Looks:
    import torch

    high = (logits > config.threshold + config.stability_offset).sum((1, 2))
    low = (logits > config.threshold - config.stability_offset).sum((1, 2))
    masks = logits > config.threshold
    left, right, top, bottom = [first for axis in (1, 2) for first in _ends(masks.any(axis))]
    # 0 / 0 is not a number, and no number is less than it: such a mask is never stable.
    return Looks(high / low, masks.sum((1, 2)), torch.stack((left, top, right, bottom), dim=1))


def _ends(line: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """First and last true of each row (m, length); 0 and length - 1 where there is none."""
    numbers = line.int()
    return numbers.argmax(1), line.shape[1] - 1 - numbers.flip(1).argmax(1)
