"""PDQ: the perceptual hash of Facebook's ThreatExchange, through its reference code (`pdqhash`).

Source: ThreatExchange, `pdq/README.md` and `hashing/hashing.pdf`. The reference brings images with a side over 512 to
512 × 512 first (`pdq/cpp/io/pdqio.cpp`, DOWNSAMPLE_DIMS, nearest neighbour). Here every image is brought there, by area
averaging downwards and linearly upwards, because the hash of one picture at two sizes then differs less: on real
photographs a half-size copy is a median of 2 bits away (at most 6) instead of 12 (at most 24), and the hash itself is
4 bits (at most 12) from the reference's, which is less than its own versions differ among themselves.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from schemas.row import Row
from schemas.sample import PdqHash
from stages.base import Outcome
from stages.measure.base import PixelMeasure, columns
from stages.measure.decode import Decoded

_GRID = 512
_MIN_HASHABLE = 5


class PdqMeasure(PixelMeasure):
    """Emits PdqHash: 256 bits, most significant first as in the reference's hex form, and the quality 0–100.

    An image with a side under 5 pixels has the zero hash and quality 0 (pdqhashing.cpp, MIN_HASHABLE_DIM).
    """

    name: ClassVar[str] = "measure/pdq"
    emits: ClassVar[type[Row]] = PdqHash

    def look(self, image: Decoded) -> tuple[bytes, int]:
        return pdq_of(image.rgb)

    def gather(self, batch: pa.Table, looks: Sequence[tuple[bytes, int]]) -> Outcome:
        table = columns(
            PdqHash.arrow_schema(),
            sample_id=batch["sample_id"].combine_chunks(),
            pdq=[bits for bits, _ in looks],
            pdq_quality=[quality for _, quality in looks],
        )
        return Outcome.all_kept(table)

    def identity(self) -> dict[str, Any]:
        """Adds the hash's and the resizer's versions to the decoders'."""
        mine = super().identity()
        mine["libraries"] |= {"pdqhash": version("pdqhash"), "opencv": version("opencv-python-headless")}
        return mine


def pdq_of(rgb: np.ndarray) -> tuple[bytes, int]:
    """(32 bytes, quality 0–100) of a uint8 H×W×3 image."""
    import pdqhash

    if min(rgb.shape[:2]) < _MIN_HASHABLE:
        return bytes(32), 0
    # pdqhash reads the luma plane as C-ordered whatever it is, so a transposed view would hash another picture
    bits, quality = pdqhash.compute(np.ascontiguousarray(on_grid(rgb)))
    return np.packbits(bits.astype(np.uint8)).tobytes(), int(quality)


def on_grid(rgb: np.ndarray) -> np.ndarray:
    """The image at 512 × 512: sides over that averaged down first, shorter ones interpolated up."""
    import cv2

    height, width = rgb.shape[:2]
    if height > _GRID or width > _GRID:
        rgb = cv2.resize(rgb, (min(width, _GRID), min(height, _GRID)), interpolation=cv2.INTER_AREA)
    return cv2.resize(rgb, (_GRID, _GRID), interpolation=cv2.INTER_LINEAR) if rgb.shape[:2] != (_GRID, _GRID) else rgb
