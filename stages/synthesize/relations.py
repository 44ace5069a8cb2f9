"""On which side of another box a box lies: one rule for what is written and one for what is refused.

The axes are the picture's: left is the viewer's left, above is higher in the picture. Two thresholds, so that between
"a person would agree" and "a person would object" there is room for what neither teacher nor check should decide.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from schemas.sample import Box


class Relation(StrEnum):
    left_of = "left of"
    right_of = "right of"
    above = "above"
    below = "below"


OPPOSITE = {
    Relation.left_of: Relation.right_of,
    Relation.right_of: Relation.left_of,
    Relation.above: Relation.below,
    Relation.below: Relation.above,
}


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two centres must be apart along an axis, in shares of two lengths; both must hold."""

    extents: float
    """Of the sum of both extents along the axis: 0.5 where the boxes just stop overlapping there."""
    side: float
    """Of the picture's side along the axis."""


AGREED = Apart(extents=0.5, side=0.05)
"""Wholly on that side, and visibly so: a box inside a wide one is never beside it."""
OPPOSED = Apart(extents=0.3, side=0.03)
"""A claim of the opposite is wrong even though the boxes overlap a little."""
STEEPEST = 0.577
"""tan 30°: a direction within 60° of the axis is still called by its name; beyond, ratings of "above" and its like fall
towards none (Logan and Sadler 1996, "A computational analysis of the apprehension of spatial relations")."""


def relation(a: Box, b: Box, width: int, height: int) -> set[Relation]:
    """Where `a` lies seen from `b`, as a person would agree; empty when that is open.

    Pixels, in a picture of `width` × `height`. Boxes that are not finite, or without area, have no relations.
    """
    dx, dy = _between(a, b)
    found = _sides(a, b, width, height, AGREED)
    if abs(dx) < STEEPEST * abs(dy):
        found -= {Relation.left_of, Relation.right_of}
    if abs(dy) < STEEPEST * abs(dx):
        found -= {Relation.above, Relation.below}
    return found


def contradicts(claimed: Relation, a: Box, b: Box, width: int, height: int) -> bool:
    """Whether "`a` is `claimed` `b`" is clearly false: `a` lies on the opposite side.

    Never true of what `relation` returns, always true of its opposites.
    """
    return OPPOSITE[claimed] in _sides(a, b, width, height, OPPOSED)


def stacked(a: Box, b: Box) -> bool:
    """Whether the boxes share at least half of the narrower one's columns: "above" is then more than "higher up"."""
    shared = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    return shared >= 0.5 * min(a.w, b.w)


def _between(a: Box, b: Box) -> tuple[float, float]:
    """From the centre of `b` to the centre of `a`; x right, y down."""
    return a.x + a.w / 2 - b.x - b.w / 2, a.y + a.h / 2 - b.y - b.h / 2


def _sides(a: Box, b: Box, width: int, height: int, apart: Apart) -> set[Relation]:
    if not (_sound(a) and _sound(b)):
        return set()
    dx, dy = _between(a, b)
    found: set[Relation] = set()
    if abs(dx) >= max(apart.extents * (a.w + b.w), apart.side * width):
        found.add(Relation.left_of if dx < 0 else Relation.right_of)
    if abs(dy) >= max(apart.extents * (a.h + b.h), apart.side * height):
        found.add(Relation.above if dy < 0 else Relation.below)
    return found


def _sound(box: Box) -> bool:
    return all(isfinite(v) for v in (box.x, box.y, box.w, box.h)) and box.w > 0 and box.h > 0
