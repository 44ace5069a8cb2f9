"""Windows of a picture, each segmented as a picture of its own, so that small things are seen larger.

SA-1B: 2 × 2 and 4 × 4 partly overlapping windows beside the whole picture; masks that touch a window's inner edge go;
then, where two windows found the same box, the mask of the smaller window stays (arXiv:2304.02643, appendix B).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from schemas.masks_config import EverythingConfig
from stages.masks.backend import Found

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, or all of it, in pixels; `right` and `bottom` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int
    layer: int
    """0: the whole picture."""
    height: int
    """Of the picture."""
    width: int

    def of(self, rgb: np.ndarray) -> np.ndarray:
        return rgb[self.top : self.bottom, self.left : self.right]

    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def moved(self, found: Found) -> Found:
        """A mask found in the window, as one of the picture."""
        if not self.layer:
            return found
        x, y, w, h = found.box
        point = None if found.point is None else (found.point[0] + self.left, found.point[1] + self.top)
        return replace(found, box=(x + self.left, y + self.top, w, h), point=point)

    def touches(self, boxes: "torch.Tensor", within: int) -> "torch.Tensor":
        """Which boxes (m, 4: left, top, right, bottom; the last two inside) lie near an edge of the window that is none
        of the picture's: bool (m,)."""
        import torch

        moved = boxes + torch.tensor((self.left, self.top, self.left, self.top), device=boxes.device)
        edges = torch.tensor((self.left, self.top, self.right, self.bottom), device=boxes.device)
        ends = torch.tensor((0, 0, self.width, self.height), device=boxes.device)
        return (((moved - edges).abs() <= within) & ((moved - ends).abs() > within)).any(1)


def windows(height: int, width: int, config: EverythingConfig) -> list[Window]:
    """The whole picture, then each layer's windows; none without a pixel.

    Layer n has 2^n windows a side, which overlap by `crop_overlap` of the shorter side, halved from layer to layer
    (generate_crop_boxes of segment_anything/utils/amg.py).
    """
    found = [Window(0, 0, width, height, 0, height, width)]
    for layer in range(1, config.crop_layers + 1):
        side = 2**layer
        overlap = int(config.crop_overlap * min(height, width) * (2 / side))
        columns, rows = _spans(width, side, overlap), _spans(height, side, overlap)
        found += [Window(x0, y0, x1, y1, layer, height, width) for x0, x1 in columns for y0, y1 in rows]
    return found


def merged(parts: Sequence[tuple[Window, list[Found]]], config: EverythingConfig) -> list[Found]:
    """The masks of all windows of one picture, by predicted IoU, best first; of two with the same box, the one from the
    smaller window."""
    import torch
    from torchvision.ops import nms

    if len(parts) == 1:
        ((window, found),) = parts
        return [window.moved(one) for one in found]
    # Stable: within a window, the better mask comes first.
    found = [window.moved(one) for window, some in sorted(parts, key=lambda p: p[0].area()) for one in some]
    boxes = torch.tensor([(x, y, x + w - 1, y + h - 1) for x, y, w, h in (f.box for f in found)]).reshape(-1, 4)
    ranks = torch.arange(len(found), 0, -1).float()
    kept = [found[index] for index in nms(boxes.float(), ranks, config.crop_nms).tolist()]
    return sorted(kept, key=lambda one: -(one.predicted_iou or 0))


def _spans(length: int, number: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end of `number` windows along a side; fewer where they would have no pixel."""
    size = math.ceil((overlap * (number - 1) + length) / number)
    starts = [(size - overlap) * i for i in range(number)]
    return [(start, min(start + size, length)) for start in starts if start < length]
