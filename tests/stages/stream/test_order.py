"""The order of an epoch: a permutation, a pure function, the same for ever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.stream.hashing import key_of, mixed, permutation
from stages.stream.order import EpochOrder

COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=12).map(lambda c: np.asarray(c, np.int64))
PLACES = np.arange(12)


def pairs(order: EpochOrder, places: np.ndarray) -> list[tuple[int, int]]:
    shard, row = order.locate(places)
    return list(zip(shard.tolist(), row.tolist(), strict=True))


@given(counts=COUNTS, window=st.integers(1, 5), seed=st.integers(0, 3), shuffle=st.booleans())
def test_an_epoch_gives_every_sample_once(counts: np.ndarray, window: int, seed: int, shuffle: bool) -> None:
    order = EpochOrder(counts, (seed, 0, 0), window, shuffle)
    assert sorted(pairs(order, np.arange(counts.sum()))) == [(s, r) for s, n in enumerate(counts) for r in range(n)]


@given(counts=COUNTS, window=st.integers(1, 5), data=st.data())
def test_any_place_can_be_asked_for_alone(counts: np.ndarray, window: int, data: st.DataObject) -> None:
    size = int(counts.sum())
    whole = pairs(EpochOrder(counts, (1, 0, 0), window), np.arange(size))
    at = np.asarray(data.draw(st.lists(st.integers(0, max(0, size - 1)), max_size=6)) if size else [], np.int64)
    assert pairs(EpochOrder(counts, (1, 0, 0), window), at) == [whole[i] for i in at]


def test_stored_order_without_shuffle() -> None:
    order = EpochOrder(np.asarray([2, 0, 3]), (0, 0, 0), 1, shuffle=False)
    assert pairs(order, np.arange(5)) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]


def test_seed_source_and_epoch_each_change_the_order() -> None:
    counts = np.full(6, 5)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({tuple(pairs(EpochOrder(counts, key, 3), np.arange(30))) for key in keys}) == 4


def test_a_window_mixes_its_own_shards_and_no_other() -> None:
    order = EpochOrder(np.full(9, 10), (0, 0, 1), 3)
    for window in range(3):
        shards, _ = order.locate(np.arange(window * 30, window * 30 + 30))
        assert set(shards.tolist()) == set(order.shards_of(window))
        assert (np.diff(shards) != 0).sum() > 10  # mixed, not one after another


def test_the_first_epoch_begins_with_small_windows() -> None:
    sizes = {
        epoch: [len(EpochOrder(np.full(20, 3), (0, 0, epoch), 8).shards_of(w)) for w in range(7)] for epoch in (0, 1)
    }
    assert sizes == {0: [1, 2, 4, 8, 5, 0, 0], 1: [8, 8, 4, 0, 0, 0, 0]}


def test_the_mixer_is_splitmix64() -> None:
    """First outputs of the reference generator from the states 0 and 1."""
    assert [hex(x) for x in mixed(np.asarray([0, 1], np.uint64)).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x910a2dec89025cc1",
    ]


def test_the_order_never_changes_between_versions() -> None:
    """A checkpoint of today must resume in ten years: these literals may not be edited."""
    assert permutation(key_of(7), 12).tolist() == [8, 5, 3, 2, 10, 9, 7, 6, 0, 11, 1, 4]
    assert pairs(EpochOrder(np.full(4, 3), (5, 1, 2), 2), PLACES) == [
        (3, 0), (3, 1), (1, 0), (1, 1), (3, 2), (1, 2),
        (0, 0), (2, 0), (2, 1), (0, 2), (2, 2), (0, 1),
    ]  # fmt: skip
