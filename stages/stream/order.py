"""The order of one source in one epoch: shards shuffled, then the samples of every few shards.

A pure function of (sample counts of the shards, seed, epoch, window): any place of it can be asked for, by any worker
of any rank, without the places before. A window is `window` consecutive shards of the shuffled list; its samples are
permuted as one. So a reader holds the shards of one window (two at its edge), and a sample meets all of theirs. The
first epoch begins with windows of 1, 2, 4 … shards, so that the first sample waits for one shard and not for a window.
"""

from collections import OrderedDict

import numpy as np

from stages.stream.hashing import key_of, permutation

_SHARDS, _SAMPLES = 1, 2
_WINDOWS_KEPT = 3


class EpochOrder:
    """Places 0 … n − 1 of one epoch → (shard, row). Memory: 8 bytes per shard, 8 per sample of up to three windows."""

    def __init__(self, counts: np.ndarray, key: tuple[int, ...], window: int, shuffle: bool = True) -> None:
        """`counts`: samples of each shard, int64 (shards,); `key`: (seed, source, epoch 0, 1, 2 …)."""
        self._key, self._shuffle = key, shuffle
        shards = permutation(key_of(*key, _SHARDS), len(counts)) if shuffle else np.arange(len(counts))
        self._shards = shards[counts[shards] > 0]
        ends = np.cumsum(counts[self._shards])
        self._firsts = np.concatenate([[0], ends])  # place of each shard's first sample, before windows are mixed
        self._begins = _window_begins(len(ends), window, ramp=key[-1] == 0)
        self._edges = self._firsts[self._begins]
        self._mixed: OrderedDict[int, np.ndarray] = OrderedDict()

    def locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(shard, row) of each place; int64 arrays of the same length."""
        stored = places
        if self._shuffle:
            windows = self.window_of(places)
            stored = np.empty_like(places)
            for window in distinct(windows):
                inside = windows == window
                first = self._edges[window]
                stored[inside] = first + self._permuted(window)[places[inside] - first]
        at = np.searchsorted(self._firsts, stored, side="right") - 1
        return self._shards[at], stored - self._firsts[at]

    def window_of(self, places: np.ndarray) -> np.ndarray:
        """The window in which each place lies."""
        return np.searchsorted(self._edges, places, side="right") - 1

    def shards_of(self, window: int) -> list[int]:
        """The shards that a window mixes; none past the last one."""
        begin, end = self._begins[[min(w, len(self._begins) - 1) for w in (window, window + 1)]]
        return self._shards[begin:end].tolist()

    def _permuted(self, window: int) -> np.ndarray:
        found = self._mixed.get(window)
        if found is None:
            size = int(self._edges[window + 1] - self._edges[window])
            found = permutation(key_of(*self._key, _SAMPLES, window), size)
            self._mixed[window] = found
            if len(self._mixed) > _WINDOWS_KEPT:
                self._mixed.popitem(last=False)
        else:
            self._mixed.move_to_end(window)
        return found


def _window_begins(shards: int, window: int, ramp: bool) -> np.ndarray:
    """Where windows begin in the shuffled list of shards; the last entry is its end."""
    begins, size = [0], 1 if ramp else window
    while begins[-1] < shards:
        begins.append(min(shards, begins[-1] + size))
        size = min(window, 2 * size)
    return np.asarray(begins, np.int64)


def distinct(values: np.ndarray) -> list[int]:
    """The numbers that occur, in order; `np.unique` imports numpy.ma, which every worker process would pay for."""
    ordered = np.sort(values)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))].tolist()
