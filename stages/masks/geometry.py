"""From pixels of the picture as fetched to pixels of the picture as stored: what a resize on download did to places.

The arithmetic is that of img2dataset's Resizer: albumentations' LongestMaxSize and SmallestMaxSize (each side is
`round(side * scale)`), PadIfNeeded and CenterCrop (the middle, rounded down).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.recipe import ResizeConfig
from stages.masks.backend import BoxXywh


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one picture, in pixels, as shown: EXIF orientation applied. Columns of `schemas.sample.Fetched`."""

    original_width: int
    original_height: int
    width: int
    """Of the stored picture."""
    height: int


def to_stored(boxes: Sequence[BoxXywh], sizes: Sizes, resize: ResizeConfig | None) -> list[BoxXywh]:
    """Boxes (x, y, w, h in pixels of the original) in pixels of the stored picture, in their order.

    None is clipped or left out: after a crop, some may lie outside. Raises ValueError for a side of no pixel.
    """
    (scale_x, move_x), (scale_y, move_y) = _axes(sizes, resize)
    return [(x * scale_x + move_x, y * scale_y + move_y, w * scale_x, h * scale_y) for x, y, w, h in boxes]


def to_original(boxes: Sequence[BoxXywh], sizes: Sizes, resize: ResizeConfig | None) -> list[BoxXywh]:
    """Boxes in pixels of the stored picture, in pixels of the original: what `to_stored` undoes."""
    (scale_x, move_x), (scale_y, move_y) = _axes(sizes, resize)
    return [((x - move_x) / scale_x, (y - move_y) / scale_y, w / scale_x, h / scale_y) for x, y, w, h in boxes]


def points_to_stored(
    points: Sequence[tuple[float, float]], sizes: Sizes, resize: ResizeConfig | None
) -> list[tuple[float, float]]:
    """Points (x, y), as `to_stored`. 0 is the left edge of the first pixel, 0.5 its middle."""
    (scale_x, move_x), (scale_y, move_y) = _axes(sizes, resize)
    return [(x * scale_x + move_x, y * scale_y + move_y) for x, y in points]


def _axes(sizes: Sizes, resize: ResizeConfig | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of x and of y: factor, and then how far to the right or down."""
    original, stored = (sizes.original_width, sizes.original_height), (sizes.width, sizes.height)
    if min(*original, *stored) < 1:
        raise ValueError(f"a picture has a pixel on each side at least, not {original} and {stored}")
    if original == stored:
        # No resize, one that left it as it was (only_if_bigger), or one to the size that it had.
        return (1.0, 0.0), (1.0, 0.0)
    if resize is None or resize.mode not in ("border", "center_crop"):
        return (stored[0] / original[0], 0.0), (stored[1] / original[1], 0.0)
    inner = min(original) if resize.mode == "center_crop" else max(original)
    scaled = [max(1, round(side * (resize.size / inner))) for side in original]
    x, y = (
        (new / old, float(int((now - new) / 2)))  # towards zero, whether the border grows or the crop does
        for new, old, now in zip(scaled, original, stored, strict=True)
    )
    return x, y
