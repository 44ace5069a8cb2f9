"""Sides: what is agreed, what is opposed, and what is left open."""

from random import Random

import pytest

from schemas.sample import Box
from stages.synthesize.relations import OPPOSITE, Relation, contradicts, relation, stacked


def box(x: float, y: float, w: float = 20, h: float = 20) -> Box:
    return Box(label=None, x=x, y=y, w=w, h=h)


CENTRE = box(190, 190)


@pytest.mark.parametrize(
    ("other", "sides"),
    [
        (box(50, 190), {Relation.left_of}),
        (box(330, 190), {Relation.right_of}),
        (box(190, 50), {Relation.above}),
        (box(190, 330), {Relation.below}),
        (box(90, 90), {Relation.left_of, Relation.above}),
        (box(290, 290), {Relation.right_of, Relation.below}),
    ],
)
def test_each_side_has_its_name(other: Box, sides: set[Relation]) -> None:
    assert relation(other, CENTRE, 400, 400) == sides


def test_a_box_inside_a_wide_one_is_on_no_side_of_it() -> None:
    assert relation(box(10, 190), box(0, 180, 400, 40), 400, 400) == set()


def test_boxes_that_overlap_along_the_axis_are_open() -> None:
    assert relation(box(171, 190), CENTRE, 400, 400) == set()


def test_boxes_apart_by_less_than_the_share_of_the_side_are_open() -> None:
    near, far = box(100, 100, 4, 4), box(118, 100, 4, 4)
    assert relation(near, far, 400, 400) == set()
    assert relation(near, far, 300, 400) == {Relation.left_of}


def test_a_side_is_not_said_of_a_direction_beyond_60_degrees() -> None:
    assert relation(box(150, 100), box(190, 190), 400, 400) == {Relation.above}
    assert relation(box(130, 100), box(190, 190), 400, 400) == {Relation.above, Relation.left_of}


def test_the_opposite_side_contradicts_and_the_same_side_does_not() -> None:
    assert contradicts(Relation.left_of, box(330, 190), CENTRE, 400, 400)
    assert not contradicts(Relation.right_of, box(330, 190), CENTRE, 400, 400)


def test_a_claim_across_the_other_axis_is_not_contradicted() -> None:
    assert not any(contradicts(side, box(190, 50), CENTRE, 400, 400) for side in (Relation.left_of, Relation.right_of))


def test_a_small_overlap_is_not_agreed_but_its_opposite_is_opposed() -> None:
    left = box(176, 190)
    assert relation(left, CENTRE, 400, 400) == set()
    assert contradicts(Relation.right_of, left, CENTRE, 400, 400)


def test_the_two_rules_never_disagree() -> None:
    rng = Random("relations")
    named = 0
    for _ in range(3000):
        a, b = (
            box(rng.uniform(-20, 400), rng.uniform(-20, 300), rng.uniform(1, 300), rng.uniform(1, 200)) for _ in "ab"
        )
        sides, back = relation(a, b, 400, 300), relation(b, a, 400, 300)
        named += bool(sides)
        assert back == {OPPOSITE[side] for side in sides}
        for side in sides:
            assert not contradicts(side, a, b, 400, 300)
            assert contradicts(OPPOSITE[side], a, b, 400, 300)
    assert 300 < named < 2700


@pytest.mark.parametrize("bad", [box(0, 0, 0, 9), box(0, 0, -5, 9), box(float("nan"), 0), box(0, 0, float("inf"))])
def test_a_box_without_a_finite_area_has_no_side(bad: Box) -> None:
    assert relation(bad, CENTRE, 400, 400) == set()
    assert not any(contradicts(side, CENTRE, bad, 400, 400) for side in Relation)


def test_stacked_needs_half_of_the_narrower_columns() -> None:
    assert stacked(box(100, 0, 20), box(110, 90, 200))
    assert not stacked(box(100, 0, 20), box(111, 90, 200))
