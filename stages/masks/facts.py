"""What is measured of a sample's masks: columns of `MaskFacts`, but for `mask_clip`, which needs a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.masks.backend import BoxXywh, Found

_BAND = 2**22
"""Pixels of the picture looked at once: 4 MiB, however large the picture and however many masks it has."""


def facts(found: Sequence[Found], boxes: Sequence[BoxXywh] | None, height: int, width: int) -> dict[str, Any]:
    """mask_count, mask_largest, mask_coverage and box_agreement of a picture's masks; only those with `best` count.

    `boxes`: the prompts, finite numbers in pixels of the same picture; None: it was asked with something else.
    """
    best = [one for one in found if one.best]
    return {
        "mask_count": len(best),
        "mask_largest": max((int(np.count_nonzero(one.pixels)) for one in best), default=0),
        "mask_coverage": _covered(best, height, width) / (height * width),
        "box_agreement": _agreement(best, boxes or (), height, width),
    }


def iou(a: BoxXywh, b: BoxXywh) -> float:
    """Intersection over union of two boxes (x, y, w, h); 0 where both are empty."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(across, 0.0) * max(down, 0.0)
    union = a[2] * a[3] + b[2] * b[3] - common
    return common / union if union > 0 else 0.0


def _covered(found: Sequence[Found], height: int, width: int) -> int:
    """Pixels under at least one mask."""
    rows = max(1, _BAND // width)
    return sum(_in_band(found, top, min(top + rows, height), width) for top in range(0, height, rows))


def _in_band(found: Sequence[Found], top: int, bottom: int, width: int) -> int:
    band = np.zeros((bottom - top, width), np.bool_)
    for one in found:
        x, y, w, h = one.box
        first, last = max(top, y), min(bottom, y + h)
        if first < last:
            band[first - top : last - top, x : x + w] |= one.pixels[first - y : last - y]
    return int(np.count_nonzero(band))


def _agreement(best: Sequence[Found], boxes: Sequence[BoxXywh], height: int, width: int) -> float | None:
    """Lowest over the boxes that touch the picture; None where none does."""
    tight = {one.prompt_index: one.box for one in best}
    inside = [(index, _clipped(box, height, width)) for index, box in enumerate(boxes)]
    agreed = [iou(box, tight[index]) if index in tight else 0.0 for index, box in inside if box is not None]
    return min(agreed, default=None)


def _clipped(box: BoxXywh, height: int, width: int) -> BoxXywh | None:
    """What of a box lies in the picture; None where nothing does."""
    x, y, w, h = box
    left, top, right, bottom = max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h)
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None
