"""How well an order is shuffled: pure functions of the order and of the shards' sizes. 0: as stored; 1: as by chance.

An order is an int64 array: at each place of the output, the stored number of the sample there. Sample numbers run
through the shards one after another.
"""

import numpy as np


def travel(order: np.ndarray) -> float:
    """Mean distance of a sample from its stored place, over that of a uniform permutation, N / 3 (exactly N/3 − 1/3N).

    Says nothing of neighbours: whole shards in random order travel as far.
    """
    n = len(order)
    if n < 2:
        raise ValueError("an order of fewer than two samples has no distance to travel")
    return float(np.abs(order - np.arange(n)).mean() / ((n * n - 1) / (3 * n)))


def mixing(order: np.ndarray, sizes: np.ndarray) -> float:
    """Share of adjacent output pairs from different shards, over that of a uniform permutation."""
    shards = shard_of(order, sizes)
    n = int(sizes.sum())
    same_by_chance = float((sizes * (sizes - 1)).sum() / (n * (n - 1)))
    if same_by_chance == 1:
        raise ValueError("one shard has no other to be mixed with")
    return float((shards[1:] != shards[:-1]).mean() / (1 - same_by_chance))


def batch_entropy(order: np.ndarray, sizes: np.ndarray, batch: int) -> float:
    """Mean entropy of the shard ids in a batch, over that of batches of a uniform permutation.

    The last, shorter batch is left out. The expectation is exact: counts of a shard in a batch are hypergeometric.
    """
    shards = shard_of(order, sizes)
    whole = shards[: len(shards) // batch * batch].reshape(-1, batch)
    counts = np.zeros((len(whole), len(sizes)))
    np.add.at(counts, (np.repeat(np.arange(len(whole)), batch), whole.ravel()), 1)
    return float(_entropy(counts / batch).mean() / _entropy_by_chance(sizes, batch))


def shards_held(order: np.ndarray, sizes: np.ndarray) -> int:
    """Shards that are begun and not yet finished at once, at most: what a reader in place must keep open."""
    shards = shard_of(order, sizes)
    first, last = np.full(len(sizes), -1), np.full(len(sizes), -1)
    places = np.arange(len(shards))
    last[shards] = places  # of equal indexes the last assignment stays
    first[shards[::-1]] = places[::-1]
    used = first >= 0
    change = np.zeros(len(shards) + 1, np.int64)
    np.add.at(change, first[used], 1)
    np.add.at(change, last[used] + 1, -1)
    return int(change.cumsum().max())


def shard_of(order: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Shard of each output sample. Raises ValueError unless the order holds every sample once."""
    n = int(sizes.sum())
    if len(order) != n or not np.array_equal(np.sort(order), np.arange(n)):
        raise ValueError(f"an order of {n} samples must hold each of them once")
    return np.searchsorted(np.cumsum(sizes), order, side="right")


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Nats, along the last axis."""
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)


def _entropy_by_chance(sizes: np.ndarray, batch: int) -> float:
    from scipy.stats import hypergeom

    n, drawn = int(sizes.sum()), np.arange(1, batch + 1)
    terms = -(drawn / batch) * np.log(drawn / batch)
    each = {int(size): float((hypergeom.pmf(drawn, n, size, batch) * terms).sum()) for size in np.unique(sizes)}
    return sum(each[int(size)] for size in sizes)
