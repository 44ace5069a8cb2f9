"""The sequence of a stream: position → source, shard, row. Ranks, workers and batch sizes do not occur here."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from schemas.stream import StreamConfig
from stages.stream.mixture import Mixture
from stages.stream.order import EpochOrder, distinct

_ORDERS_KEPT = 3  # of each source: an epoch that ends, the one that begins, and one for a reader a little behind


@dataclass(frozen=True, slots=True)
class Drawn:
    """A stretch of the sequence: int64 arrays of one length."""

    source: np.ndarray
    epoch: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    """Among the streamed samples of the shard, in stored order."""

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, part: slice) -> "Drawn":
        return Drawn(self.source[part], self.epoch[part], self.shard[part], self.row[part])


class Sequence:
    """One global order, a pure function of (sample counts, seed, epoch, mixture).

    `counts`: of each source, the streamed samples of each shard.
    """

    def __init__(self, counts: list[np.ndarray], config: StreamConfig) -> None:
        self._config, self._counts = config, counts
        self.mixture = Mixture([int(c.sum()) for c in counts], config)
        self._orders: list[OrderedDict[int, EpochOrder]] = [OrderedDict() for _ in counts]

    @property
    def total(self) -> int | None:
        """Samples in the whole stream; None: endless."""
        return self.mixture.total

    def at(self, *stretches: tuple[int, int]) -> Drawn:
        """Positions start … stop − 1 of each stretch, one after the other; shorter where the stream ends."""
        drawn = [self.mixture.draws(start, stop) for start, stop in stretches]
        source, draw = (np.concatenate(part) for part in zip(*drawn, strict=True))
        sizes = np.asarray(self.mixture.sizes)[source]
        epoch, place = draw // sizes, draw % sizes
        shard, row = np.empty_like(place), np.empty_like(place)
        for s, e in _pairs(source, epoch):
            mine = (source == s) & (epoch == e)
            shard[mine], row[mine] = self._order(s, e).locate(place[mine])
        return Drawn(source, epoch, shard, row)

    def upcoming(self, position: int) -> list[tuple[int, int]]:
        """(source, shard) of the windows that hold the next samples of each source, and of those after them.

        In order of need: all windows in use first. What a reader keeps open and fetches ahead.
        """
        now: list[tuple[int, int]] = []
        later: list[tuple[int, int]] = []
        for source, drawn in enumerate(self.mixture.cursors(position)):
            if drawn >= self.mixture.limits[source]:
                continue
            epoch, place = divmod(drawn, self.mixture.sizes[source])
            order = self._order(source, epoch)
            window = int(order.window_of(np.asarray([place]))[0])
            now += [(source, shard) for shard in order.shards_of(window)]
            later += [(source, shard) for shard in self._after(source, epoch, window)]
        return list(dict.fromkeys(now + later))

    def _after(self, source: int, epoch: int, window: int) -> list[int]:
        """The shards of the next window, at the beginning of the stream of several: with those of `window` at most two
        whole windows'."""
        order, following = self._order(source, epoch), list[int]()
        room = 2 * self._config.window - len(order.shards_of(window))
        while (shards := order.shards_of(window + 1)) and (not following or len(following) + len(shards) <= room):
            following += shards
            window += 1
        if not following and (epoch + 1) * self.mixture.sizes[source] < self.mixture.limits[source]:
            following = self._order(source, epoch + 1).shards_of(0)
        return following

    def _order(self, source: int, epoch: int) -> EpochOrder:
        kept = self._orders[source]
        if epoch not in kept:
            config = self._config
            kept[epoch] = EpochOrder(self._counts[source], (config.seed, source, epoch), config.window, config.shuffle)
            if len(kept) > _ORDERS_KEPT:
                kept.popitem(last=False)
        return kept[epoch]


def _pairs(source: np.ndarray, epoch: np.ndarray) -> list[tuple[int, int]]:
    """Each (source, epoch) that occurs."""
    return [(s, e) for s in distinct(source) for e in distinct(epoch[source == s])]
