"""Mixtures: weights kept at every point, random access, caps, repeats, temperature, curriculum."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import WrongRequest
from schemas.stream import SourceConfig, StreamConfig
from stages.stream.mixture import Mixture

SOURCES = st.lists(
    st.tuples(st.integers(1, 400), st.sampled_from([0.1, 0.5, 1.0, 3.0]), st.sampled_from([0.5, 1.0, 2.5])),
    min_size=1,
    max_size=4,
)


def mixture(sizes: list[int], sources: list[dict[str, Any]] | None = None, **settings: Any) -> Mixture:
    named = [{"path": f"/{name}", **s} for name, s in zip("abcdef", sources or [{}] * len(sizes), strict=False)]
    return Mixture(sizes, StreamConfig(sources=[SourceConfig.model_validate(s) for s in named], **settings))


def of(case: list[tuple[int, float, float]], seed: int = 0) -> Mixture:
    return mixture([c[0] for c in case], [{"weight": c[1], "repeats": c[2]} for c in case], seed=seed)


@given(case=SOURCES, seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_source_gives_its_draws_in_order_and_no_more(case: list[tuple[int, float, float]], seed: int) -> None:
    found = of(case, seed)
    source, draw = found.draws(0, 10**6)
    assert len(source) == found.total == sum(int(n * repeats) for n, _, repeats in case)
    for i in range(len(case)):
        assert draw[source == i].tolist() == list(range(found.limits[i]))


@given(case=SOURCES, data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_stretch_can_be_asked_for_alone(case: list[tuple[int, float, float]], data: st.DataObject) -> None:
    source, draw = of(case).draws(0, 10**6)
    start = data.draw(st.integers(0, len(source)))
    stop = data.draw(st.integers(start, len(source) + 5))
    alone = of(case)
    got = alone.draws(start, stop)
    assert [g.tolist() for g in got] == [source[start:stop].tolist(), draw[start:stop].tolist()]
    assert alone.cursors(start) == [int((source[:start] == i).sum()) for i in range(len(case))]


def test_shares_hold_at_every_point() -> None:
    found = mixture([10_000] * 3, [{"weight": w, "repeats": None} for w in (5.0, 3.0, 0.02)])
    source, _ = found.draws(0, 50_000)
    drawn = np.stack([np.cumsum(source == i) for i in range(3)])
    asked = np.outer(np.asarray([5.0, 3.0, 0.02]) / 8.02, np.arange(1, 50_001))
    assert np.abs(drawn - asked).max() < 3


def test_sources_are_mixed_not_dealt_in_turn() -> None:
    source, _ = mixture([4000, 4000]).draws(0, 8000)
    same = (source[1:] == source[:-1]).mean()
    assert 0.2 < same < 0.45  # in turn: 0; independent draws: 0.5


def test_far_positions_cost_no_replay_and_agree() -> None:
    endless = [{"weight": 1.0, "repeats": None}, {"weight": 2.5, "repeats": None}]
    at = 10**12 + 12_345
    source, draw = mixture([10, 10], endless).draws(at, at + 20_000)
    assert len(source) == 20_000
    for i in range(2):
        assert (np.diff(draw[source == i]) == 1).all()
    assert sum(mixture([10, 10], endless).cursors(at)) == at


def test_a_cap_ends_a_source_and_the_others_go_on() -> None:
    found = mixture([100, 100], [{"weight": 1.0, "cap": 10}, {"weight": 1.0}])
    source, _ = found.draws(0, 1000)
    assert np.bincount(source).tolist() == [10, 100]
    assert (source[30:] == 1).all()


def test_temperature_flattens_sizes() -> None:
    sizes = [90_000, 10_000]
    proportional = mixture(sizes, [{"repeats": None}] * 2).weights_at(0)
    flatter = mixture(sizes, [{"repeats": None}] * 2, temperature=2.0).weights_at(0)
    assert proportional == pytest.approx([0.9, 0.1])
    assert flatter == pytest.approx([0.75, 0.25])  # √9 : √1


def test_a_curriculum_changes_shares_at_its_sample() -> None:
    steps = [{"at": 1000, "weights": {"a": 1, "b": 3}}, {"at": 9000, "weights": {"b": 1}}]
    found = mixture([50, 50], [{"weight": 1.0, "repeats": None}, {"weight": 0.0, "repeats": None}], curriculum=steps)
    source, _ = found.draws(0, 10_000)
    assert (source[:1000] == 0).all()
    assert abs((source[1000:9000] == 1).sum() - 6000) <= 1
    assert (source[9000:] == 1).all()
    assert [found.weights_at(p) for p in (999, 1000, 9000)] == [[1, 0], [0.25, 0.75], [0, 1]]


@pytest.mark.parametrize(
    ("sizes", "sources", "options", "named"),
    [
        ([0, 5], [{}, {}], {}, "'a' has no samples"),
        ([5, 5], [{"weight": 1.0}, {}], {}, "'b' has no weight"),
        ([5, 5], [{"weight": 0.0}, {"weight": 0.0}], {}, "weight 0"),
        ([5, 5], [{}, {}], {"curriculum": [{"at": 11, "weights": {"a": 1}}]}, "step at 11"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    sizes: list[int], sources: list[dict[str, Any]], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(WrongRequest, match=named):
        mixture(sizes, sources, **options)
