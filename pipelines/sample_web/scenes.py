"""Scenes: what is in a picture, decided before a pixel is drawn.

A scene holds one to three groups of like objects (same shape and colour), one to four in each, six at most.
Everything a caption may state is exact: counts, colours, shapes, sizes, relations, background.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

import numpy as np

from pipelines.sample_web.backgrounds import Background, make_background
from pipelines.sample_web.shapes import DIAMETER, Colour, Outline, Shape, Size, extent, placed, rasterise

MAX_OBJECTS = 6
MAX_COUNT = 4
MARGIN = 0.055
"""Share of each side kept free of objects, so that a crop of 4 % cuts none."""


class Relation(StrEnum):
    left_of = "left of"
    right_of = "right of"
    above = "above"
    below = "below"


class Box(NamedTuple):
    """Pixels: left, top, width, height."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object; `cx`, `cy`, `radius` in pixels, `angle` in degrees. Later objects lie on top."""

    shape: Shape
    colour: Colour
    size: Size
    cx: float
    cy: float
    radius: float
    angle: float

    @property
    def label(self) -> str:
        return f"{self.colour} {self.shape}"

    def contours(self, sx: float = 1.0, sy: float = 1.0) -> Outline:
        """The outline in a picture scaled by (sx, sy)."""
        radius, centre = (self.radius * sx, self.radius * sy), (self.cx * sx, self.cy * sy)
        return placed(self.shape, radius, self.angle, centre)


@dataclass(frozen=True, slots=True)
class Group:
    """Like objects: how many, what, and their size where it is the same for all."""

    count: int
    colour: Colour
    shape: Shape
    size: Size | None


@dataclass(frozen=True, slots=True)
class Scene:
    seed: int
    width: int
    height: int
    background: Background
    objects: tuple[SceneObject, ...]

    def groups(self) -> list[Group]:
        """The groups in order of first appearance."""
        kinds = list(dict.fromkeys((o.colour, o.shape) for o in self.objects))
        found = []
        for colour, shape in kinds:
            members = [o for o in self.objects if (o.colour, o.shape) == (colour, shape)]
            sizes = {o.size for o in members}
            found.append(Group(len(members), colour, shape, sizes.pop() if len(sizes) == 1 else None))
        return found

    def relations(self) -> list[tuple[int, Relation, int]]:
        """(i, relation, j) where object i lies wholly on that side of object j."""
        boxes = [extent(o.contours()) for o in self.objects]
        found: list[tuple[int, Relation, int]] = []
        for i, a in enumerate(boxes):
            for j, b in enumerate(boxes):
                if i != j:
                    found += [(i, relation, j) for relation in _sides(a, b)]
        return found

    def masks(self) -> np.ndarray:
        """Visible pixels of each object: bool (objects, height, width)."""
        masks = np.zeros((len(self.objects), self.height, self.width), bool)
        for index, item in enumerate(self.objects):
            patch = rasterise(item.contours())
            rows = slice(patch.y, patch.y + patch.coverage.shape[0])
            columns = slice(patch.x, patch.x + patch.coverage.shape[1])
            inside = patch.coverage >= 0.5
            masks[index, rows, columns] = inside
            masks[:index, rows, columns] &= ~inside
        return masks

    def boxes(self) -> list[Box]:
        """The tight box of each object's visible pixels."""
        return [_tight(mask) for mask in self.masks()]

    def truth(self) -> dict[str, Any]:
        """Everything known about the picture, as JSON-able values."""
        masks = self.masks()
        objects = [
            {
                "shape": str(o.shape), "colour": str(o.colour), "size": str(o.size), "z": z,
                "box": list(_tight(mask)), "visible_pixels": int(mask.sum()),
            }
            for z, (o, mask) in enumerate(zip(self.objects, masks, strict=True))
        ]  # fmt: skip
        return {
            "seed": self.seed, "width": self.width, "height": self.height, "objects": objects,
            "background": {"pattern": str(self.background.pattern), "tone": str(self.background.tone)},
            "counts": dict(Counter(o.label for o in self.objects)),
            "relations": [[i, str(relation), j] for i, relation, j in self.relations()],
        }  # fmt: skip


def _sides(a: tuple[float, ...], b: tuple[float, ...]) -> list[Relation]:
    tests = {
        Relation.left_of: a[2] <= b[0],
        Relation.right_of: a[0] >= b[2],
        Relation.above: a[3] <= b[1],
        Relation.below: a[1] >= b[3],
    }
    return [relation for relation, holds in tests.items() if holds]


def _tight(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)


def make_scene(seed: int) -> Scene:
    """The scene of `seed`: the same on every machine, and no other seed's."""
    rng = Random(f"scene:{seed}")
    width, height = rng.randrange(256, 641, 8), 0
    while not 256 <= height <= 640:
        height = round(width / rng.choice((4 / 3, 1, 5 / 4, 3 / 4, 4 / 5)) / 8) * 8
    background = make_background(rng)
    for _ in range(200):
        objects = _place(_choose(rng), rng, width, height)
        if objects:
            return Scene(seed, width, height, background, tuple(objects))
    raise AssertionError(f"scene {seed}: no layout in 200 tries; the size classes leave no room")


def _choose(rng: Random) -> list[tuple[Colour, Shape, Size]]:
    """What to draw: distinct groups, their counts, and a size for each object."""
    number = rng.choices((1, 2, 3), weights=(25, 50, 25))[0]
    kinds: list[tuple[Colour, Shape]] = []
    while len(kinds) < number:
        kind = (rng.choice(list(Colour)), rng.choice(list(Shape)))
        if kind not in kinds:
            kinds.append(kind)
    room = MAX_OBJECTS - number
    chosen: list[tuple[Colour, Shape, Size]] = []
    for colour, shape in kinds:
        extra = min(room, rng.choices((0, 1, 2, 3), weights=(46, 26, 17, 11))[0])
        room -= extra
        size = rng.choice(list(Size))
        same = rng.random() < 0.6
        chosen += [(colour, shape, size if same else rng.choice(list(Size))) for _ in range(extra + 1)]
    rng.shuffle(chosen)
    return chosen


def _place(chosen: list[tuple[Colour, Shape, Size]], rng: Random, width: int, height: int) -> list[SceneObject] | None:
    """Objects at random places, apart or (in one scene of six) overlapping a little; None if there is no room."""
    apart = 0.86 if rng.random() < 1 / 6 else 1.12
    side = min(width, height)
    objects: list[SceneObject] = []
    for colour, shape, size in chosen:
        radius = rng.uniform(*DIAMETER[size]) * side / 2
        for _ in range(30):
            angle = rng.uniform(-9, 9)
            item = SceneObject(
                shape, colour, size, _spot(rng, width, radius), _spot(rng, height, radius), radius, angle
            )
            if all(_distance(item, other) > apart * (radius + other.radius) for other in objects):
                objects.append(item)
                break
        else:
            return None
    return objects


def _spot(rng: Random, length: int, radius: float) -> float:
    edge = MARGIN * length + radius * 1.14
    return rng.uniform(edge, length - edge)


def _distance(a: SceneObject, b: SceneObject) -> float:
    return ((a.cx - b.cx) ** 2 + (a.cy - b.cy) ** 2) ** 0.5
