"""Random numbers as pure functions of what they are for: same on every machine and for every numpy.

numpy promises the streams of its Generators for one version only, and a checkpoint outlives versions; so the order
is made of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195) over counters, and of stable sorts.
"""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer over uint64 (any shape)."""
    with np.errstate(over="ignore"):
        x = values + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _MIX1
        x = (x ^ (x >> np.uint64(27))) * _MIX2
        return x ^ (x >> np.uint64(31))


def key_of(*parts: int) -> np.uint64:
    """One key for a tuple of whole numbers of 0 or more."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = mixed(key ^ mixed(np.asarray([part], np.uint64)))
    return key[0]


def uniform(key: np.uint64, counters: np.ndarray) -> np.ndarray:
    """float64 in [0, 1), one for each counter (int64 of 0 or more)."""
    return (mixed(counters.astype(np.uint64) ^ key) >> np.uint64(11)) * 2.0**-53


def permutation(key: np.uint64, size: int) -> np.ndarray:
    """int64 (size,): 0 … size − 1 in a random order."""
    return np.argsort(mixed(np.arange(size, dtype=np.uint64) ^ key), kind="stable")
