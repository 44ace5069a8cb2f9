"""PDQ against the reference library, its published properties, and the trap in its memory order."""

import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageEnhance

from schemas.recipe import PdqConfig
from schemas.row import cast
from schemas.sample import PdqHash
from stages.measure.decode import decode
from stages.measure.pdq import PdqMeasure, on_grid, pdq_of
from tests.stages.measure.builders import PHOTOS, encoded, picture, pixels

photographs = pytest.mark.skipif(not PHOTOS.is_dir(), reason="../shared/data/photos is not there")


def reference(rgb: np.ndarray) -> bytes:
    """The reference's hex form as bytes: its vector starts with the most significant bit."""
    bits, _ = pdqhash.compute(np.ascontiguousarray(rgb))
    return int("".join(str(b) for b in bits), 2).to_bytes(32, "big")


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def some_photos(count: int) -> list[np.ndarray]:
    paths = sorted(PHOTOS.glob("*.jpg"))
    return [decode(p.read_bytes(), 1).rgb for p in paths[:: len(paths) // count][:count]]


def test_at_512_it_is_the_reference_bit_for_bit() -> None:
    for seed in range(5):
        rgb = picture(512, 512, seed)
        assert pdq_of(rgb) == (reference(rgb), pdqhash.compute(rgb)[1])


@photographs
def test_photographs_lie_close_to_the_reference_at_their_full_size() -> None:
    """The reference itself moves by up to 20 bits between its two ways of bringing an image to 512 × 512."""
    found = [distance(pdq_of(rgb)[0], reference(rgb)) for rgb in some_photos(30)]
    assert np.median(found) <= 10
    assert max(found) <= 26


@photographs
@pytest.mark.parametrize("edit", ["quality 60", "half size", "brighter"])
def test_copies_of_a_photograph_are_within_the_published_radius(edit: str) -> None:
    for rgb in some_photos(20):
        image = Image.fromarray(rgb)
        if edit == "half size":
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        if edit == "brighter":
            image = ImageEnhance.Brightness(image).enhance(1.2)
        copy = decode(encoded(image, "JPEG", quality=60 if edit == "quality 60" else 92), 1).rgb
        assert distance(pdq_of(rgb)[0], pdq_of(copy)[0]) <= 31  # ThreatExchange, pdq/README.md


@photographs
def test_different_photographs_are_far_apart() -> None:
    hashes = [pdq_of(rgb)[0] for rgb in some_photos(30)]
    apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 90
    assert 120 <= np.median(apart) <= 136  # independent bits: 128


def test_memory_order_does_not_matter() -> None:
    rgb = picture(512, 512)
    assert pdq_of(np.asfortranarray(rgb)) == pdq_of(rgb)
    assert pdq_of(rgb.transpose(1, 0, 2).copy().transpose(1, 0, 2)) == pdq_of(rgb)


def test_a_blank_image_has_quality_zero_and_a_photograph_like_one_has_100() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert pdq_of(np.full((64, 64, 3), 200, np.uint8))[1] == 0
    assert pdq_of(np.asarray(Image.fromarray(noisy).resize((300, 200))))[1] == 100


@pytest.mark.parametrize("shape", [(1, 1), (4, 900), (900, 4)])
def test_too_small_to_hash(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert pdq_of(rgb) == (bytes(32), 0)


@pytest.mark.parametrize("size", [(48, 32), (512, 300), (300, 2000), (2000, 1500), (512, 512)])
def test_every_image_is_hashed_on_one_grid(size: tuple[int, int]) -> None:
    assert on_grid(picture(*size)).shape == (512, 512, 3)


def test_the_stage_emits_32_bytes_and_a_quality() -> None:
    outcome = PdqMeasure(PdqConfig()).process(pixels([encoded(picture(seed=1)), b"no image"]))
    kept = cast(outcome.kept, PdqHash.arrow_schema(), "test").to_pylist()
    assert kept[0]["pdq"] == pdq_of(picture(seed=1))[0]
    assert outcome.table["pdq"].to_pylist()[1] is None
    assert outcome.reason.to_pylist() == [None, "undecodable"]
