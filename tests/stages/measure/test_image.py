"""Image facts: data chosen so that the numbers can be told beforehand."""

import numpy as np
import pytest
from PIL import Image

from schemas.recipe import ImageConfig
from schemas.row import cast
from schemas.sample import ImageFacts
from stages.measure.image import ImageMeasure
from tests.stages.measure.builders import encoded, picture, pixels


def facts_of(data: bytes, orientation: int | None = 1) -> dict:
    outcome = ImageMeasure(ImageConfig()).process(pixels([data], orientations=[orientation]))
    return cast(outcome.kept, ImageFacts.arrow_schema(), "test").to_pylist()[0]


def test_size_is_as_shown() -> None:
    found = facts_of(encoded(picture(48, 32)), orientation=6)
    assert (found["image_width"], found["image_height"], found["aspect"]) == (32, 48, 1.5)


def test_bytes_and_channels_are_as_stored() -> None:
    data = encoded(Image.new("LA", (5, 5), (9, 255)))
    found = facts_of(data)
    assert (found["image_bytes"], found["channels"]) == (len(data), 2)


@pytest.mark.parametrize(
    ("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255)]
)
def test_luma_is_rec_601(colour: tuple[int, int, int], luma: int) -> None:
    found = facts_of(encoded(Image.new("RGB", (4, 4), colour)))
    assert (found["mean_luma"], found["std_luma"]) == (luma, 0)


def test_half_black_half_white() -> None:
    half = np.zeros((2, 2, 3), np.uint8)
    half[0] = 255
    found = facts_of(encoded(half))
    assert (found["mean_luma"], found["std_luma"]) == (127.5, 127.5)
