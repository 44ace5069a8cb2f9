"""What a caption states, as data: so that truth can be checked before a word is written.

`make_claims` states only what holds; `spoil` makes one statement wrong in one of four ways and refuses where no
such wrong statement exists. Whether claims hold is decided by `holds` against the scene, never by construction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from pipelines.sample_web.backgrounds import Pattern, Tone
from pipelines.sample_web.scenes import MAX_COUNT, MAX_OBJECTS, Group, Relation, Scene
from pipelines.sample_web.shapes import Colour, Shape


class HardKind(StrEnum):
    """The one thing that is wrong in a hard negative."""

    wrong_colour = "colour"
    wrong_object = "object"
    wrong_count = "count"
    exchanged = "exchange"


@dataclass(frozen=True, slots=True)
class Claims:
    """Groups in the order told; `relation` joins two groups of one object each, by position in `groups`.

    `coloured` False: a caption for a grey picture, which names no colour and no tone.
    """

    groups: tuple[Group, ...]
    relation: tuple[int, Relation, int] | None = None
    pattern: Pattern | None = None
    tone: Tone | None = None
    coloured: bool = True


def make_claims(scene: Scene, rng: Random, coloured: bool = True) -> Claims:
    """True statements about the scene: every group with its count, and sometimes size, relation, background."""
    groups = scene.groups()
    rng.shuffle(groups)
    if not coloured:
        groups = _merged(groups)
    told = tuple(g if rng.random() < 0.35 else replace(g, size=None) for g in groups)
    relation = None
    singles = [i for i, g in enumerate(told) if g.count == 1]
    if len(singles) >= 2 and coloured and rng.random() < 0.6:
        i, j = singles[0], singles[1]
        found = _relations(scene, told[i], told[j])
        relation = (i, rng.choice(found), j) if found else None
    pattern = scene.background.pattern if rng.random() < 0.35 else None
    tone = scene.background.tone if coloured and rng.random() < 0.25 else None
    return Claims(told, relation, pattern, tone, coloured)


def holds(claims: Claims, scene: Scene) -> bool:
    """Whether every statement is true of the scene."""
    background = scene.background
    if claims.pattern not in (None, background.pattern) or claims.tone not in (None, background.tone):
        return False
    if not all(_group_holds(g, scene, claims.coloured) for g in claims.groups):
        return False
    if claims.relation is None:
        return True
    i, relation, j = claims.relation
    return relation in _relations(scene, claims.groups[i], claims.groups[j])


def spoil(claims: Claims, scene: Scene, kind: HardKind, rng: Random) -> Claims | None:
    """The claims with one thing made wrong, or None where this kind of error cannot be made here."""
    makers = {
        HardKind.wrong_colour: _wrong_colour,
        HardKind.wrong_object: _wrong_object,
        HardKind.wrong_count: _wrong_count,
        HardKind.exchanged: _exchanged,
    }
    if not claims.coloured and kind in (HardKind.wrong_colour, HardKind.exchanged):
        return None
    wrong = makers[kind](claims, scene, rng)
    return None if wrong is None or holds(wrong, scene) else wrong


def _merged(groups: list[Group]) -> list[Group]:
    """Groups by shape alone, as a grey picture shows them; sizes are left out."""
    counts: dict[Shape, int] = {}
    for group in groups:
        counts[group.shape] = counts.get(group.shape, 0) + group.count
    return [Group(count, Colour.black, shape, None) for shape, count in counts.items()]


def _members(scene: Scene, group: Group, coloured: bool = True) -> list[int]:
    return [
        i for i, o in enumerate(scene.objects) if o.shape is group.shape and (o.colour is group.colour or not coloured)
    ]


def _group_holds(group: Group, scene: Scene, coloured: bool) -> bool:
    members = _members(scene, group, coloured)
    sizes_agree = group.size is None or all(scene.objects[i].size is group.size for i in members)
    return len(members) == group.count and sizes_agree


def _relations(scene: Scene, a: Group, b: Group) -> list[Relation]:
    first, second = _members(scene, a), _members(scene, b)
    if len(first) != 1 or len(second) != 1:
        return []
    return [relation for i, relation, j in scene.relations() if (i, j) == (first[0], second[0])]


def _kinds(scene: Scene) -> set[tuple[Colour, Shape]]:
    return {(o.colour, o.shape) for o in scene.objects}


def _with(claims: Claims, changed: dict[int, Group]) -> Claims:
    return replace(claims, groups=tuple(changed.get(i, g) for i, g in enumerate(claims.groups)))


def _wrong_colour(claims: Claims, scene: Scene, rng: Random) -> Claims | None:
    index = rng.randrange(len(claims.groups))
    group = claims.groups[index]
    free = [c for c in Colour if (c, group.shape) not in _kinds(scene)]
    return _with(claims, {index: replace(group, colour=rng.choice(free))}) if free else None


def _wrong_object(claims: Claims, scene: Scene, rng: Random) -> Claims | None:
    index = rng.randrange(len(claims.groups))
    group = claims.groups[index]
    kinds = _kinds(scene)
    taken = {s for c, s in kinds if c is group.colour or not claims.coloured}
    free = [s for s in Shape if s not in taken]
    return _with(claims, {index: replace(group, shape=rng.choice(free))}) if free else None


def _wrong_count(claims: Claims, scene: Scene, rng: Random) -> Claims | None:
    index = rng.randrange(len(claims.groups))
    group = claims.groups[index]
    free = [n for n in range(1, (MAX_COUNT if claims.coloured else MAX_OBJECTS) + 1) if n != group.count]
    changed = _with(claims, {index: replace(group, count=rng.choice(free))})
    in_relation = claims.relation is not None and index in (claims.relation[0], claims.relation[2])
    return replace(changed, relation=None) if in_relation else changed


def _exchanged(claims: Claims, scene: Scene, rng: Random) -> Claims | None:
    """Two groups trade their colours: nothing in the caption is foreign to the picture, only the binding is wrong."""
    pairs = [
        (i, j)
        for i, a in enumerate(claims.groups)
        for j, b in enumerate(claims.groups)
        if i < j and a.colour is not b.colour and a.shape is not b.shape
    ]
    kinds = _kinds(scene)
    pairs = [
        (i, j)
        for i, j in pairs
        if (claims.groups[j].colour, claims.groups[i].shape) not in kinds
        and (claims.groups[i].colour, claims.groups[j].shape) not in kinds
    ]
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    a, b = claims.groups[i], claims.groups[j]
    return _with(claims, {i: replace(a, colour=b.colour), j: replace(b, colour=a.colour)})
