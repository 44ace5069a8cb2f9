"""Which examples go together: bounds hold, nothing is lost, none waits for ever, little is padding."""

import random
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.train.batches.pack import Bounds, grouped, packed, padded

Choose = Callable[[list[int], list[int], Bounds], list[int]]


def test_a_row_is_the_oldest_and_what_fills_it_best() -> None:
    assert packed([5, 6, 4, 3, 3], [0] * 5, Bounds(12)) == [0, 2, 3]
    assert packed([5, 9, 7, 7], [0] * 4, Bounds(12)) == [0, 2]
    assert packed([4, 5, 4, 4], [0] * 4, Bounds(12)) == [0, 2, 3]  # first fit would take the 5, and leave 3 empty
    assert packed([13, 1], [0] * 2, Bounds(12)) == [0]
    assert packed([12, 1], [0] * 2, Bounds(12)) == [0]
    assert packed([7], [0], Bounds(12)) == [0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=9), most=st.integers(12, 30))
def test_no_other_row_with_the_oldest_is_fuller(lengths: list[int], most: int) -> None:
    chosen = packed(lengths, [0] * len(lengths), Bounds(most))
    others = range(1, len(lengths))
    every = (
        lengths[0] + sum(lengths[i] for i in some) for n in range(len(lengths)) for some in combinations(others, n)
    )
    assert sum(lengths[i] for i in chosen) == max(total for total in every if total <= most)
    assert chosen[0] == 0


def test_pictures_bound_a_row() -> None:
    assert packed([2, 5, 3, 2], [1, 2, 1, 0], Bounds(12, None, 2)) == [0, 2, 3]
    assert packed([2, 5, 3, 2], [1, 2, 1, 0], Bounds(12, None, 4)) == [0, 1, 2, 3]
    assert packed([2, 2], [3, 0], Bounds(12, None, 2)) == [0]


def test_a_group_is_the_oldest_and_its_nearest_in_length() -> None:
    assert grouped([10, 30, 11, 9, 10], [0] * 5, Bounds(None, 3)) == [0, 2, 4]


def test_a_budget_of_tokens_counts_the_padding() -> None:
    assert padded([2, 3, 4, 2], [0] * 4, Bounds(12)) == [0, 1, 2]
    assert padded([2, 3, 9, 2], [0] * 4, Bounds(12)) == [0, 1]
    assert grouped([2, 9, 3, 3], [0] * 4, Bounds(9)) == [0, 2, 3]


def all_rows(choose: Choose, lengths: list[int], pictures: list[int], bounds: Bounds, window: int) -> list[list[int]]:
    held, coming, rows = list[int](), list(range(len(lengths))), list[list[int]]()
    while held or coming:
        while coming and len(held) < window:
            held.append(coming.pop(0))
        chosen = choose([lengths[i] for i in held], [pictures[i] for i in held], bounds)
        rows.append([held[i] for i in chosen])
        held = [example for i, example in enumerate(held) if i not in chosen]
    return rows


_examples = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=60)


@pytest.mark.parametrize("choose", [packed, grouped, padded])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    examples=_examples,
    most=st.integers(60, 200),
    count=st.none() | st.integers(1, 8),
    pictures=st.none() | st.integers(1, 4),
    window=st.integers(1, 20),
)
def test_every_example_is_in_one_row_and_bounds_hold(
    choose: Choose,
    examples: list[tuple[int, int]],
    most: int,
    count: int | None,
    pictures: int | None,
    window: int,
) -> None:
    lengths, seen = [n for n, _ in examples], [p for _, p in examples]
    rows = all_rows(choose, lengths, seen, Bounds(most, count, pictures), window)
    assert sorted(i for row in rows for i in row) == list(range(len(examples)))
    for at, row in enumerate(rows):
        assert row == sorted(row)
        cost = sum(lengths[i] for i in row) if choose is packed else max(lengths[i] for i in row) * len(row)
        assert len(row) == 1 or cost <= most
        assert count is None or len(row) <= count
        assert pictures is None or len(row) == 1 or sum(seen[i] for i in row) <= pictures
        assert min(row) == min(i for later in rows[at:] for i in later)  # the oldest is never left


def test_packing_and_grouping_leave_little_padding() -> None:
    """Lengths as of a mixture of short answers and long descriptions."""
    dice = random.Random(0)
    lengths = [min(2048, int(dice.lognormvariate(5.6, 0.7))) for _ in range(4000)]
    none = [0] * len(lengths)

    def share(rows: list[list[int]], capacity: int | None) -> float:
        real = sum(lengths)
        size = sum(len(row) * max(lengths[i] for i in row) if capacity is None else capacity for row in rows)
        return 1 - real / size

    shares = {
        "packed": share(all_rows(packed, lengths, none, Bounds(2048), 128), 2048),
        "grouped": share(all_rows(grouped, lengths, none, Bounds(None, 8), 128), None),
        "padded": share(all_rows(padded, lengths, none, Bounds(None, 8), 128), None),
    }
    assert shares["packed"] < 0.005
    assert shares["packed"] < shares["grouped"] < shares["padded"] / 3
    assert np.isclose(shares["padded"], 0.5, atol=0.15)
