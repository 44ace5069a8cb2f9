"""All pairs within a Hamming radius, held against comparing everything."""

import numpy as np
import pytest

from stages.dedup.hamming import pairs_within


def planted(n: int, seed: int = 0) -> np.ndarray:
    """Random hashes, a third of them copies of another with 0–80 bits turned over."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (n, 256), np.uint8)
    for copy in rng.choice(n, n // 3, replace=False):
        bits[copy] = bits[rng.integers(0, n)]
        bits[copy, rng.choice(256, rng.integers(0, 81), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def brute_force(hashes: np.ndarray, radius: int) -> set[tuple[int, int, int]]:
    distance = np.bitwise_count(hashes[:, None, :] ^ hashes[None, :, :]).sum(2)
    return {
        (int(i), int(j), int(distance[i, j])) for i, j in zip(*np.nonzero(distance <= radius), strict=True) if i < j
    }


def found(hashes: np.ndarray, radius: int, width: int | None = None) -> set[tuple[int, int, int]]:
    out: set[tuple[int, int, int]] = set()
    for i, j, distance in pairs_within(hashes, radius, width):
        assert (i != j).all()
        pairs = zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), distance.tolist(), strict=True)
        out |= set(pairs)
    return out


@pytest.mark.parametrize("width", [None, 13, 22])
@pytest.mark.parametrize("radius", [0, 1, 15, 16, 31, 32, 47, 63])
def test_finds_exactly_the_pairs_within_the_radius(radius: int, width: int | None) -> None:
    hashes = planted(400)
    assert found(hashes, radius, width) == brute_force(hashes, radius)


def test_a_pair_at_the_radius_with_its_bits_spread_as_badly_as_can_be() -> None:
    bits = np.zeros((2, 256), np.uint8)
    bits[1, np.concatenate([np.arange(0, 256, 16), np.arange(7, 256 - 16, 16)])] = 1  # 2 bits a band, 1 in the last
    hashes = np.packbits(bits, axis=1)
    assert found(hashes, 31) == {(0, 1, 31)}
    assert found(hashes, 30) == set()


def test_identical_hashes_and_tiny_inputs() -> None:
    one = planted(1)
    assert found(one, 31) == set()
    assert found(one[:0], 31) == set()
    assert found(np.repeat(one, 3, axis=0), 31) == {(0, 1, 0), (0, 2, 0), (1, 2, 0)}


def test_hundreds_of_neighbours_of_one_another() -> None:
    rng = np.random.default_rng(3)
    bits = np.repeat(rng.integers(0, 2, (1, 256), np.uint8), 300, axis=0)
    for row in bits:
        row[rng.choice(256, 10, replace=False)] ^= 1
    pairs = found(np.packbits(bits, axis=1), 20)
    assert pairs == brute_force(np.packbits(bits, axis=1), 20)
    assert len(pairs) == 300 * 299 // 2
