"""Boxes follow their picture through the download's own resize."""

from functools import cache
from random import Random

import numpy as np
import pytest
from PIL import Image

from schemas.recipe import ResizeConfig
from stages.download.resize import Resize, Resized
from stages.download.sniff import Facts, sniff
from stages.masks.backend import BoxXywh
from stages.masks.geometry import Sizes, points_to_stored, to_stored
from stages.measure.decode import decode
from tests.stages.download.web import encoded

MODES = ["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]


@cache
def _resize(mode: str, only_if_bigger: bool, size: int) -> tuple[ResizeConfig, Resize]:
    config = ResizeConfig.model_validate(
        {"mode": mode, "size": size, "only_if_bigger": only_if_bigger, "format": "png", "quality": 1,
         "upscale": "bilinear"}
    )  # fmt: skip
    return config, Resize(config)


def _painted(width: int, height: int, box: tuple[int, int, int, int]) -> bytes:
    """Black, with the box red."""
    x, y, w, h = box
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[y : y + h, x : x + w, 0] = 255
    return encoded(rgb, "PNG")


def _stored(data: bytes, resize: Resize) -> tuple[np.ndarray, Sizes]:
    facts = sniff(data)
    assert isinstance(facts, Facts)
    made = resize(data, facts)
    assert isinstance(made, Resized)
    rgb = decode(made.data, made.facts.orientation).rgb
    return rgb, Sizes(facts.width, facts.height, made.facts.width, made.facts.height)


def _seen(rgb: np.ndarray) -> BoxXywh:
    """Where the red lies, to fractions of a pixel: the middle and the sum of its shares along each axis."""
    red = (rgb[..., 0].astype(float) - rgb[..., 1]) / 255
    (x, w), (y, h) = _extent(red.max(0)), _extent(red.max(1))
    return x, y, w, h


def _extent(share: np.ndarray) -> tuple[float, float]:
    length = float(share.sum())
    middle = float((share * (np.arange(len(share)) + 0.5)).sum()) / length
    return middle - length / 2, length


def _inside(box: BoxXywh, sizes: Sizes) -> BoxXywh:
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], sizes.width), min(box[1] + box[3], sizes.height)
    return left, top, right - left, bottom - top


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("only_if_bigger", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_box_is_where_the_resized_picture_shows_it(mode: str, only_if_bigger: bool) -> None:
    rng, compared = Random(mode), 0
    for _ in range(60):
        config, resize = _resize(mode, only_if_bigger, rng.choice((61, 96, 130)))
        width, height = rng.randint(24, 300), rng.randint(24, 300)
        w, h = rng.randint(12, width), rng.randint(12, height)
        box = rng.randint(0, width - w), rng.randint(0, height - h), w, h
        rgb, sizes = _stored(_painted(width, height, box), resize)
        assert rgb.shape[:2] == (sizes.height, sizes.width)
        mapped = to_stored([box], sizes, config)[0]
        visible = _inside(mapped, sizes)
        if min(visible[2:]) < 3:
            continue  # cropped away, or too small to have a whole pixel
        compared += 1
        scale = max(mapped[2] / w, mapped[3] / h)
        # Enlarging smears an edge, and cuts off what is smeared beyond the picture's own.
        smear = 0.08 if scale <= 1 else 0.3 * scale
        assert _seen(rgb) == pytest.approx(visible, abs=smear), (sizes, config)
    assert compared > 40


def test_orientation_is_no_part_of_it() -> None:
    """The original's size is the one shown, and so are its boxes."""
    config, resize = _resize("border", False, 96)
    shown = (20, 30, 60, 40)
    stored = np.zeros((200, 120, 3), np.uint8)  # EXIF 6: a quarter turn to the right is still to be made
    left, top, w, h = shown
    stored[200 - left - w : 200 - left, top : top + h, 0] = 255
    rgb, sizes = _stored(encoded(stored, "PNG", exif=_exif(6)), resize)
    assert (sizes.original_width, sizes.original_height) == (200, 120)
    assert _seen(rgb) == pytest.approx(to_stored([shown], sizes, config)[0], abs=0.2)


def test_a_point_moves_as_a_box_does() -> None:
    config = _resize("center_crop", False, 61)[0]
    sizes = Sizes(200, 90, 61, 61)
    (x, y, *_), (px, py) = to_stored([(90, 10, 3, 3)], sizes, config)[0], points_to_stored([(90, 10)], sizes, config)[0]
    assert (px, py) == (x, y) == pytest.approx((90 * 136 / 200 - 37, 10 * 61 / 90))


def test_without_a_resize_nothing_moves() -> None:
    boxes = [(1.5, 2.0, 3.0, 4.0), (-5.0, 90.0, 300.0, 2.0)]
    assert to_stored(boxes, Sizes(200, 90, 200, 90), None) == boxes


def test_a_picture_without_a_side_is_an_error() -> None:
    with pytest.raises(ValueError, match="a pixel on each side"):
        to_stored([(0, 0, 1, 1)], Sizes(200, 0, 200, 90), None)
