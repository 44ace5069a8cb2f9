"""Rows of `Mask` made by hand from pixels."""

from typing import Any

import numpy as np

from schemas.mask import Mask, Prompt
from stages.masks.backend import tight
from stages.masks.rle import encode


def mask_of(pixels: np.ndarray, **columns: Any) -> Mask:
    """The mask of bool pixels (height, width), none of them empty; nothing said of it but what `columns` say."""
    boxed = tight(pixels)
    assert boxed is not None
    (x, y, w, h), inner = boxed
    plain: dict[str, Any] = {
        "label": None, "prompt": Prompt.box, "prompt_index": 0, "point_x": None, "point_y": None,
        "x": x, "y": y, "w": w, "h": h, "area": int(inner.sum()), "predicted_iou": None, "stability": None,
        "best": True, "score": None, "rle": encode(pixels),
    }  # fmt: skip
    return Mask(**plain | columns)


def block(height: int, width: int, x: int, y: int, w: int, h: int) -> np.ndarray:
    """A rectangle in a picture of `height` × `width`."""
    pixels = np.zeros((height, width), np.bool_)
    pixels[y : y + h, x : x + w] = True
    return pixels
