"""Shuffle measures on orders whose figures are known."""

import numpy as np
import pytest

from bench.streaming.quality import batch_entropy, mixing, shard_of, shards_held, travel

SIZES = np.full(64, 256)
STORED = np.arange(SIZES.sum())


def test_stored_order_measures_nothing() -> None:
    assert travel(STORED) == 0
    assert mixing(STORED, SIZES) < 0.005  # only the 63 edges between shards
    assert batch_entropy(STORED, SIZES, 256) == 0
    assert shards_held(STORED, SIZES) == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_uniform_permutation_measures_one(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(STORED)
    assert travel(order) == pytest.approx(1, abs=0.03)
    assert mixing(order, SIZES) == pytest.approx(1, abs=0.005)
    assert batch_entropy(order, SIZES, 256) == pytest.approx(1, abs=0.002)
    assert shards_held(order, SIZES) == 64


def test_shards_of_different_sizes_are_compared_with_their_own_chance() -> None:
    sizes = np.array([5000, 10, 10, 3000])
    order = np.random.default_rng(3).permutation(sizes.sum())
    assert mixing(order, sizes) == pytest.approx(1, abs=0.02)
    assert batch_entropy(order, sizes, 64) == pytest.approx(1, abs=0.01)


def test_whole_shards_in_random_order_travel_far_and_mix_nothing() -> None:
    order = np.concatenate([np.arange(s * 256, s * 256 + 256) for s in np.random.default_rng(0).permutation(64)])
    assert travel(order) > 0.8
    assert mixing(order, SIZES) < 0.005
    assert batch_entropy(order, SIZES, 256) == 0


def test_windows_of_shards_hold_as_many_and_reach_the_entropy_of_as_many() -> None:
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(2048) + first for first in range(0, len(STORED), 2048)])
    assert shards_held(order, SIZES) == 8
    assert batch_entropy(order, SIZES, 256) == pytest.approx(np.log(8) / np.log(64), abs=0.05)


def test_reversed_order_travels_half_again_as_far_as_chance() -> None:
    assert travel(STORED[::-1]) == pytest.approx(1.5, abs=1e-3)


def test_two_shards_alternating_hold_two() -> None:
    sizes = np.array([4, 4, 4, 4])
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15])
    assert shards_held(order, sizes) == 2


@pytest.mark.parametrize("order", [[0, 1, 1], [0, 1], [0, 1, 3]], ids=["twice", "short", "beyond"])
def test_no_permutation_is_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match="3 samples must hold each"):
        shard_of(np.array(order), np.array([2, 1]))


def test_one_shard_and_one_sample_are_refused() -> None:
    with pytest.raises(ValueError, match="no other to be mixed with"):
        mixing(np.arange(3), np.array([3]))
    with pytest.raises(ValueError, match="fewer than two"):
        travel(np.arange(1))
