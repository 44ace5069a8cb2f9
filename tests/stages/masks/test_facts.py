"""What is measured of masks: counted here on the whole picture, there without ever making one per mask."""

import numpy as np
import pytest

from schemas.mask import MaskFacts
from stages.masks import facts as measured
from stages.masks.backend import Found, tight
from stages.masks.facts import facts


def _found(mask: np.ndarray, prompt: int | None = None, best: bool = True) -> Found:
    boxed = tight(mask)
    assert boxed is not None
    return Found(*boxed, prompt_index=prompt, best=best)


def _filled(x: int, y: int, w: int, h: int, prompt: int | None = None, best: bool = True) -> Found:
    return Found((x, y, w, h), np.ones((h, w), np.bool_), prompt_index=prompt, best=best)


def test_they_are_the_columns_but_clip() -> None:
    assert {*facts([], None, 5, 5), "sample_id", "mask_clip"} == set(MaskFacts.columns())


def test_no_mask() -> None:
    none = {"mask_count": 0, "mask_largest": 0, "mask_coverage": 0.0, "box_agreement": None}
    assert facts([], None, 30, 40) == none


@pytest.mark.parametrize("band", [1, 500, 2**22])
def test_coverage_is_of_the_union(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_BAND", band)
    rng = np.random.default_rng(5)
    masks = rng.random((9, 61, 47)) > 0.9
    masks[3:, 30:] = masks[:4, :, :20] = False
    said = facts([_found(mask) for mask in masks], None, 61, 47)
    assert said["mask_coverage"] == pytest.approx(masks.any(0).mean(), abs=1e-12)
    assert said["mask_largest"] == masks.sum((1, 2)).max()
    assert said["mask_count"] == 9


def test_only_the_best_count() -> None:
    said = facts([_filled(0, 0, 10, 10, 0, best=False), _filled(0, 0, 5, 4, 0)], [(0, 0, 5, 4)], 10, 20)
    assert said == {"mask_count": 1, "mask_largest": 20, "mask_coverage": 0.1, "box_agreement": 1.0}


def test_the_worst_box_says_how_they_agree() -> None:
    found = [_filled(0, 0, 10, 10, 0), _filled(10, 10, 5, 10, 1)]
    assert facts(found, [(0, 0, 10, 10), (10, 10, 10, 10)], 40, 40)["box_agreement"] == 0.5
    assert facts(found[::-1], [(0, 0, 10, 10), (10, 10, 10, 10)], 40, 40)["box_agreement"] == 0.5


def test_a_box_without_a_mask_agrees_with_nothing() -> None:
    assert facts([_filled(0, 0, 10, 10, 0)], [(0, 0, 10, 10), (20, 20, 5, 5)], 40, 40)["box_agreement"] == 0.0


def test_a_box_is_compared_as_far_as_the_picture_goes() -> None:
    assert facts([_filled(30, 0, 10, 10, 0)], [(30.0, -10.0, 20.0, 20.0)], 40, 40)["box_agreement"] == 1.0


@pytest.mark.parametrize("away", [(50.0, 0.0, 5.0, 5.0), (-9.0, 3.0, 9.0, 5.0), (3.0, 3.0, 0.0, 5.0), (3, 3, 4, -1)])
def test_a_box_beside_the_picture_is_not_judged(away: tuple[float, float, float, float]) -> None:
    found = [_filled(0, 0, 10, 10, 1)]
    assert facts(found, [away, (0, 0, 10, 10)], 40, 40)["box_agreement"] == 1.0
    assert facts([], [away], 40, 40)["box_agreement"] is None
