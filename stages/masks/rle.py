"""COCO's compressed RLE, through pycocotools, checked where pycocotools trusts.

Its decoder leaves pixels behind the last run as they lay in memory, and a height times width of 2^32 or more wraps
around: what is read from a file is checked here before and after.
"""

from typing import Any

import numpy as np

from schemas.errors import WrongData
from schemas.mask import Rle

MAX_PIXELS = 2**28
"""No larger picture is decoded: 16,384 × 16,384, a mask of 256 MiB."""


def encode(mask: np.ndarray) -> Rle:
    """A bool mask (height, width), of one pixel at least, as RLE. Raises ValueError for anything else."""
    if mask.dtype != np.bool_ or mask.ndim != 2 or not mask.size:
        raise ValueError(f"a mask is bool (height, width), not {mask.dtype} {mask.shape}")
    height, width = mask.shape
    return Rle(height=height, width=width, counts=_encoded(mask.view(np.uint8)))


def decode(rle: Rle) -> np.ndarray:
    """The mask, bool (height, width), C order. Raises WrongData for runs that do not fill the picture exactly."""
    if min(rle.height, rle.width) < 1 or rle.height * rle.width > MAX_PIXELS:
        raise WrongData(f"a mask of {rle.width} × {rle.height} pixels: not between 1 and {MAX_PIXELS} in all")
    coco = {"size": [rle.height, rle.width], "counts": rle.counts}
    try:
        pixels = _pycocotools().decode(coco)
    except ValueError as error:  # UnicodeEncodeError is one
        raise _not_filled(rle) from error
    if _encoded(pixels) != rle.counts:
        raise _not_filled(rle)
    return np.ascontiguousarray(pixels).view(np.bool_)


def coco(rle: Rle) -> dict[str, Any]:
    """COCO's JSON of it: `segmentation` of an annotation."""
    return {"size": [rle.height, rle.width], "counts": rle.counts}


def _encoded(pixels: np.ndarray) -> str:
    return _pycocotools().encode(np.asfortranarray(pixels))["counts"].decode("ascii")


def _not_filled(rle: Rle) -> WrongData:
    shown = rle.counts if len(rle.counts) <= 40 else f"{rle.counts[:40]}…"
    return WrongData(f"RLE counts {shown!r} do not fill {rle.width} × {rle.height} pixels, or not in the shortest way")


def _pycocotools() -> Any:
    from pycocotools import mask  # pyright: ignore[reportMissingImports]

    return mask
