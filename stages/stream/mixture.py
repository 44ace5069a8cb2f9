"""Which source the n-th sample of a stream comes from: a pure function of n.

Each source's draws are strewn over one line of time by jittered sampling: draw j lies at a random place between the
moments where its cumulative weight reaches j and j + 1. The stream takes all sources' draws in order of time. So any
stretch of it can be computed without the stretches before, no source is ever more than a draw or two away from its
share, and a source that has no draws left just stops: the others move together, in proportion.
"""

from dataclasses import dataclass

import numpy as np

from schemas.errors import WrongRequest
from schemas.stream import StreamConfig
from stages.stream.hashing import key_of, uniform

ENDLESS = 2**62
_DRAWS = 3
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of time with constant weights (shares of 1); `before`: each source's cumulative weight at its start."""

    start: float
    shares: np.ndarray
    before: np.ndarray


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Positions begin … begin + _CHUNK: their sources and draws, and each source's draws `before` them."""

    begin: int
    before: np.ndarray
    sources: np.ndarray
    draws: np.ndarray


class Mixture:
    """Sources' sizes and weights → for every position of the stream, a source and its draw (0, 1, 2 … of that source).

    `sizes`: samples of each source. Draw j of a source of n samples is place j mod n of its epoch j // n.
    """

    def __init__(self, sizes: list[int], config: StreamConfig) -> None:
        self.labels = [s.label for s in config.sources]
        for size, label in zip(sizes, self.labels, strict=True):
            if size == 0:
                raise WrongRequest(f"source {label!r} has no samples", "change its split or where, or leave it out")
        self.sizes = sizes
        self.limits = [_limit(s.cap, s.repeats, n) for s, n in zip(config.sources, sizes, strict=True)]
        self._keys = [key_of(config.seed, _DRAWS, i) for i in range(len(sizes))]
        self._chunk: _Chunk | None = None
        weights = _weights(config, sizes)
        first = config.curriculum[0].weights if config.curriculum and config.curriculum[0].at == 0 else weights
        self._pieces = [_Piece(0.0, self._shares(first), np.zeros(len(sizes)))]
        for step in config.curriculum:
            if step.at == 0:
                continue
            start = self._time_of(step.at)
            if start is None:
                raise WrongRequest(
                    f"curriculum step at {step.at}: the sources that have weight before it end at {self._reach()}",
                    "give them more repeats, or move the step",
                )
            self._pieces.append(_Piece(start, self._shares(step.weights), self._cumulative(start)))
        self.total: int | None = None if self._reach() >= ENDLESS else self._reach()
        """Samples in the whole stream; None: endless."""

    def draws(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(source int64, draw int64) of positions start … stop − 1; shorter where the stream ends."""
        stop = stop if self.total is None else min(stop, self.total)
        if len(self.sizes) == 1:
            draw = np.arange(start, max(start, stop))
            return np.zeros_like(draw), draw
        sources, draws = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        at = start
        while at < stop:
            chunk = self._around(at)
            inside = slice(at - chunk.begin, stop - chunk.begin)
            sources.append(chunk.sources[inside])
            draws.append(chunk.draws[inside])
            at = chunk.begin + _CHUNK
        return np.concatenate(sources), np.concatenate(draws)

    def cursors(self, position: int) -> list[int]:
        """Draws of each source among the first `position` samples."""
        if len(self.sizes) == 1:
            return [position]
        chunk = self._around(position)
        inside = np.bincount(chunk.sources[: position - chunk.begin], minlength=len(self.sizes))
        return (chunk.before + inside).tolist()

    def left(self, source: int, drawn: int) -> int | None:
        """Draws that a source still has after `drawn` ones; None: endless."""
        return None if self.limits[source] >= ENDLESS else self.limits[source] - drawn

    def weights_at(self, position: int) -> list[float]:
        """Shares of 1 that the recipe asks for at a position."""
        piece = self._pieces[0]
        for later in self._pieces[1:]:
            if sum(self._counts(later.start)) <= position:
                piece = later
        return piece.shares.tolist()

    def _around(self, position: int) -> "_Chunk":
        """The aligned chunk that holds a position."""
        begin = position - position % _CHUNK
        if self._chunk is None or self._chunk.begin != begin:
            self._chunk = self._enumerate(begin)
        return self._chunk

    def _enumerate(self, begin: int) -> "_Chunk":
        margin = 2 * len(self.sizes) + 2  # of draws: more than rounding can move from one side of a time to the other
        lo = self._counts(self._time_at_least(begin - margin) if begin > margin else 0.0)
        hi = self._counts(self._time_at_least(begin + _CHUNK + margin))
        sources = [np.full(b - a, i) for i, (a, b) in enumerate(zip(lo, hi, strict=True))]
        draws = [np.arange(a, b) for a, b in zip(lo, hi, strict=True)]
        times = [self._times(i, draw) for i, draw in enumerate(draws)]
        source, draw, time = (np.concatenate(part) for part in (sources, draws, times))
        in_order = np.lexsort((source, time))
        skipped, kept = np.split(in_order[: begin - sum(lo) + _CHUNK], [begin - sum(lo)])
        before = np.asarray(lo) + np.bincount(source[skipped], minlength=len(lo))
        return _Chunk(begin, before, source[kept], draw[kept])

    # ------------------------------------------------------------------ time

    def _shares(self, weights: dict[str, float]) -> np.ndarray:
        found = np.asarray([weights.get(label, 0.0) for label in self.labels], np.float64)
        return found / found.sum()

    def _cumulative(self, time: float) -> np.ndarray:
        """Each source's cumulative weight at a time."""
        piece = next(p for p in reversed(self._pieces) if p.start <= time)
        return piece.before + piece.shares * (time - piece.start)

    def _counts(self, time: float) -> list[int]:
        """Draws of each source before a time."""
        reached = self._cumulative(time)
        whole = np.floor(reached)
        return [
            min(limit, int(w) + int(uniform(key, np.asarray([int(w)]))[0] < r - w))
            for limit, key, w, r in zip(self.limits, self._keys, whole, reached, strict=True)
        ]

    def _times(self, source: int, draws: np.ndarray) -> np.ndarray:
        """When each draw of a source happens."""
        reached = draws + uniform(self._keys[source], draws)
        times = np.full(len(draws), np.inf)
        for piece, end in zip(self._pieces, [*self._pieces[1:], None], strict=True):
            share = piece.shares[source]
            until = np.inf if end is None else end.before[source]
            inside = (reached >= piece.before[source]) & (reached < until)
            if share > 0:
                times[inside] = piece.start + (reached[inside] - piece.before[source]) / share
        return times

    def _reach(self) -> int:
        """Samples in the stream with the pieces so far; ENDLESS or more where it does not end."""
        last = self._pieces[-1]
        before = self._counts(last.start)
        return sum(limit if share > 0 else n for limit, share, n in zip(self.limits, last.shares, before, strict=True))

    def _time_at_least(self, position: int) -> float:
        """A time by which `position` draws are made, or all of them."""
        found = self._time_of(min(position, self._reach()))
        assert found is not None
        return found

    def _time_of(self, position: int) -> float | None:
        """The first time, as near as floats tell, by which `position` draws are made; None where there are fewer."""
        if position > self._reach():
            return None
        lo, hi = 0.0, 1.0
        while sum(self._counts(hi)) < position:
            lo, hi = hi, hi * 2
        for _ in range(200):
            middle = (lo + hi) / 2
            if middle in (lo, hi):
                break
            lo, hi = (lo, middle) if sum(self._counts(middle)) >= position else (middle, hi)
        return hi


def _limit(cap: int | None, repeats: float | None, size: int) -> int:
    by_repeats = ENDLESS if repeats is None else int(repeats * size)
    return min(by_repeats, ENDLESS if cap is None else cap)


def _weights(config: StreamConfig, sizes: list[int]) -> dict[str, float]:
    given = {s.label: s.weight for s in config.sources}
    if not all(weight is None for weight in given.values()) and any(weight is None for weight in given.values()):
        missing = next(name for name, weight in given.items() if weight is None)
        raise WrongRequest(f"source {missing!r} has no weight and others have", "give every source a weight, or none")
    if any(weight is not None for weight in given.values()):
        if not any(given.values()):
            raise WrongRequest("every source has weight 0", "give one of them a weight")
        return {name: weight or 0.0 for name, weight in given.items()}
    return {s.label: size ** (1 / config.temperature) for s, size in zip(config.sources, sizes, strict=True)}
