"""Image facts: size, shape, channels, bytes, brightness."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from schemas.row import Row
from schemas.sample import ImageFacts
from stages.base import Outcome
from stages.measure.base import PixelMeasure, columns
from stages.measure.decode import Decoded


class _Facts(NamedTuple):
    image_width: int
    image_height: int
    aspect: float
    channels: int
    image_bytes: int
    mean_luma: float
    std_luma: float


class ImageMeasure(PixelMeasure):
    """Emits ImageFacts. Luma is Rec. 601 rounded to 8 bits (OpenCV RGB2GRAY), its moments are exact over all pixels."""

    name: ClassVar[str] = "measure/image"
    emits: ClassVar[type[Row]] = ImageFacts

    def look(self, image: Decoded) -> _Facts:
        import cv2

        height, width, _ = image.rgb.shape
        mean, std = cv2.meanStdDev(cv2.cvtColor(image.rgb, cv2.COLOR_RGB2GRAY))
        aspect = max(width, height) / min(width, height)
        return _Facts(width, height, aspect, image.channels, image.stored_bytes, float(mean[0, 0]), float(std[0, 0]))

    def gather(self, batch: pa.Table, looks: Sequence[_Facts]) -> Outcome:
        facts = {name: [getattr(look, name) for look in looks] for name in _Facts._fields}
        schema = ImageFacts.arrow_schema()
        return Outcome.all_kept(columns(schema, sample_id=batch["sample_id"].combine_chunks(), **facts))

    def identity(self) -> dict[str, Any]:
        """Adds OpenCV's version to the decoders'."""
        mine = super().identity()
        mine["libraries"] |= {"opencv": version("opencv-python-headless")}
        return mine
