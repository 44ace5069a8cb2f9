"""PDQ: the perceptual hash of Facebook's ThreatExchange, through its reference code (`pdqhash`).

Source: ThreatExchange, `pdq/README.md` and `hashing/hashing.pdf`. As in the reference (`pdq/cpp/io/pdqio.cpp`,
DOWNSAMPLE_DIMS), an image with a side over 512 is first brought to 512 × 512; there by nearest neighbour, here by area
averaging, which keeps resized copies closer together.
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

_DOWNSAMPLE = 512


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
    import cv2
    import pdqhash

    if max(rgb.shape[:2]) > _DOWNSAMPLE:
        rgb = cv2.resize(rgb, (_DOWNSAMPLE, _DOWNSAMPLE), interpolation=cv2.INTER_AREA)
    # pdqhash reads the luma plane as C-ordered whatever it is, so a transposed view would hash another picture
    bits, quality = pdqhash.compute(np.ascontiguousarray(rgb))
    return np.packbits(bits.astype(np.uint8)).tobytes(), int(quality)
