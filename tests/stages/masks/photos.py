"""Polygons of real photographs as masks, for checks against them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

Labelled = tuple[np.ndarray, tuple[int, int, int, int], np.ndarray]
LEAST_AREA = 32 * 32
"""Pixels; COCO calls what is smaller a small object."""


def polygons(data: Path, pictures: int, each: int) -> Iterator[Labelled]:
    """(rgb, box, mask) of up to `each` polygons of `pictures` photographs, spread evenly over all that have any."""
    import cv2
    import pyarrow.parquet as pq

    rows = [r for r in pq.read_table(data / "photos.parquet").to_pylist() if r["polygons"]]
    for row in rows[:: max(1, len(rows) // pictures)][:pictures]:
        rgb = cv2.cvtColor(cv2.imread(str(data / row["file"])), cv2.COLOR_BGR2RGB)
        masks = [_filled(p["polygon"], rgb.shape[:2]) for p in row["polygons"]]
        for mask in [m for m in masks if m.sum() >= LEAST_AREA][:each]:
            ys, xs = np.nonzero(mask)
            left, top = int(xs.min()), int(ys.min())
            yield rgb, (left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top), mask


def _filled(outline: list[float], shape: tuple[int, ...]) -> np.ndarray:
    import cv2

    canvas = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(canvas, [np.asarray(outline, np.float32).reshape(-1, 2).round().astype(np.int32)], 1)
    return canvas.astype(bool)
