"""Links: nearest per node and connected groups, in any order and any number of pieces."""

import numpy as np
import pytest

import stages.dedup.links as module
from stages.dedup.links import KINDS, Links


def of(pairs: list[tuple[str, int, int, float]], nodes: int, step: int) -> Links:
    links = Links(nodes)
    for start in range(0, len(pairs), step):
        for kind in KINDS:
            some = [p for p in pairs[start : start + step] if p[0] == kind]
            a, b, d = (np.array([p[i] for p in some]) for i in (1, 2, 3))
            links.add(kind, a.astype(np.int64), b.astype(np.int64), d)
    return links


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_same_answer_as_a_plain_loop(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPACT_AT", 10)
    rng = np.random.default_rng(5)
    nodes = 200
    pairs = [
        (KINDS[rng.integers(0, 3)], int(a), int(b), float(rng.integers(0, 4)))
        for a, b in rng.integers(0, nodes, (150, 2))
        if a != b
    ]
    links = of(pairs, nodes, step)
    nearest, group = by_hand(pairs, nodes)
    linked = np.flatnonzero(links.kind < len(KINDS))
    assert {n: (int(links.kind[n]), links.distance[n], int(links.other[n])) for n in linked.tolist()} == nearest
    assert links.groups().tolist() == group


def by_hand(
    pairs: list[tuple[str, int, int, float]], nodes: int
) -> tuple[dict[int, tuple[int, float, int]], list[int]]:
    nearest: dict[int, tuple[int, float, int]] = {}
    group = list(range(nodes))
    for kind, a, b, distance in pairs:
        for me, other in ((a, b), (b, a)):
            link = (KINDS.index(kind), distance, other)
            nearest[me] = min(nearest.get(me, link), link)
        low, high = sorted((group[a], group[b]))
        group = [low if g == high else g for g in group]
    return nearest, group


def test_no_link_no_group() -> None:
    links = Links(3)
    links.add("exact", np.zeros(0, np.int64), np.zeros(0, np.int64), 0.0)
    assert links.groups().tolist() == [0, 1, 2]
    assert (links.kind == len(KINDS)).all()
