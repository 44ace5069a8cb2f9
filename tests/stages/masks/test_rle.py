"""RLE: the round trip is exact, the bytes are COCO's, and runs that do not fit are refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from schemas.errors import WrongData
from schemas.mask import Rle
from stages.masks.rle import coco, decode, encode

maskUtils = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")  # noqa: N816


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_round_trip(mask: np.ndarray) -> None:
    again = decode(encode(mask))
    assert again.dtype == np.bool_
    assert again.flags.c_contiguous
    assert np.array_equal(again, mask)


def test_a_large_mask_comes_back() -> None:
    mask = np.random.default_rng(0).random((1537, 2049)) < 0.5
    assert np.array_equal(decode(encode(mask)), mask)


def test_views_are_encoded_as_they_read() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1, 2:5] = True
    assert np.array_equal(decode(encode(mask.T)), mask.T)
    assert np.array_equal(decode(encode(mask[:, ::-1])), mask[:, ::-1])


def test_known_counts() -> None:
    # One pixel of background-first runs: (0, 0) of 2 × 2 set is runs 0, 1, 3; six bits each from "0".
    mask = np.array([[True, False], [False, False]])
    assert encode(mask).counts == "013"


def test_pycocotools_reads_the_json_as_the_same_mask() -> None:
    mask = np.zeros((9, 4), bool)
    mask[2:7, 1:3] = True
    written = json.loads(json.dumps(coco(encode(mask))))
    assert np.array_equal(maskUtils.decode(written), mask)
    assert maskUtils.area(written) == 10
    assert list(maskUtils.toBbox(written)) == [1, 2, 2, 5]


@pytest.mark.parametrize("counts", ["", "44", "@", "é", "~~~~", "o" * 40, "00", "0000P4", "P4P4P4"])
def test_runs_that_do_not_fill_the_picture_are_refused(counts: str) -> None:
    with pytest.raises(WrongData, match="do not fill 4 × 4"):
        decode(Rle(height=4, width=4, counts=counts))


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (2**16, 2**16), (2**31 - 1, 1)])
def test_impossible_sizes_are_refused_before_memory_is_taken(size: tuple[int, int]) -> None:
    with pytest.raises(WrongData, match="pixels"):
        decode(Rle(height=size[0], width=size[1], counts="0"))


@pytest.mark.parametrize("mask", [np.ones((2, 2), np.uint8), np.ones((1, 2, 2), bool), np.ones((0, 3), bool)])
def test_only_masks_are_encoded(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a mask is bool"):
        encode(mask)
