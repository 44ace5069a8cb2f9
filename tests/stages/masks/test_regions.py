"""Holes and islands by size."""

import numpy as np
import pytest

from stages.masks.regions import tidied


def drawn(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in line] for line in text.split()])


@pytest.mark.parametrize(
    ("before", "smallest", "after"),
    [
        ("##### #.### ##### #####", 2, "##### ##### ##### #####"),  # a hole of one pixel
        ("##### #.### #.### #####", 2, "##### #.### #.### #####"),  # of two, which is enough
        ("##.## ##### ##### #####", 2, "##.## ##### ##### #####"),  # a notch at the border is no hole
        ("#..## ...## ...## .....", 2, "...## ...## ...## ....."),  # an island
        ("#.... .#... ..#.. .....", 3, "#.... .#... ..#.. ....."),  # corners connect
        ("#.... ..... ....# .....", 2, "..... ..... ..... ....."),  # nothing but islands
        ("###.. #.#.. ###.. .....", 9, "###.. ###.. ###.. ....."),  # its hole counts as filled
        ("....", 9, "...."),
        ("####", 9, "...."),
        ("####", 4, "####"),
    ],
)
def test_small_regions_go(before: str, smallest: int, after: str) -> None:
    assert np.array_equal(tidied(drawn(before), smallest), drawn(after))


def test_what_lies_around_is_no_hole_however_little_it_is() -> None:
    mask = np.ones((8, 8), bool)
    mask[0, :2] = False
    assert np.array_equal(tidied(mask, 50), mask)


def test_the_mask_given_is_left_alone() -> None:
    mask = drawn("#.... ..... ...##")
    kept = mask.copy()
    tidied(mask, 2)
    assert np.array_equal(mask, kept)
