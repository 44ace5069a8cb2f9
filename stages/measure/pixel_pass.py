"""One pass over a part's pixels: each image is decoded once and shown to every measure asked for.

Enters: batches of the part's rows with their image bytes, in order. Leaves: one outcome per measure, over all rows, in
order. Decoding and looking run in a few threads with bounded read-ahead while the main thread gathers (runs the
model); only looks wait in memory, never pixels, and images over 16 million pixels are decoded one at a time (100
million with alpha take 1.4 GB meanwhile). Where the caller cuts its batches changes no bit: a measure that
cares (`cut`) gets its rows counted over the whole part.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.base import Outcome, Stage
from stages.measure.base import MeasureReason, PixelMeasure
from stages.measure.decode import MAX_PIXELS, TooManyPixels, Undecodable, decode

Look = list[Any] | Undecodable
"""What became of one image: one look per pixel measure, or why there is none."""

_SLICE = 64  # rows decoded ahead of the one being gathered: at most twice this
_LARGE = 16_000_000  # pixels; a few images of this size at once are no harm
_EVIDENCE = {"reason": pa.string(), "value": pa.float64(), "threshold": pa.float64(), "detail": pa.string()}


class PixelPass:
    """Picklable before `open` and after `close`. `threads` 0: as many as this process may use, at most 4."""

    def __init__(self, measures: Sequence[Stage], threads: int = 0, max_pixels: int = MAX_PIXELS) -> None:
        self.measures = list(measures)
        self._threads = threads
        self._max_pixels = max_pixels

    def open(self) -> None:
        """Open every measure. Idempotent."""
        for measure in self.measures:
            measure.open()

    def close(self) -> None:
        """Close every measure. Idempotent."""
        for measure in self.measures:
            measure.close()

    def run(self, batches: Iterable[pa.Table]) -> dict[str, Outcome]:
        """Stage name → outcome over all rows of `batches`, in order.

        Batches have what the measures accept; `image` and `orientation` may be absent when no measure sees pixels.
        An image that does not decode is a reason; any other exception propagates, with a note naming the sample.
        """
        seeing = [m for m in self.measures if isinstance(m, PixelMeasure)]
        lanes = [_PixelLane(m, seeing.index(m)) if isinstance(m, PixelMeasure) else _Lane(m) for m in self.measures]
        slices = (b.slice(i, _SLICE) for b in batches for i in range(0, b.num_rows, _SLICE))
        for rows, looks in self._seen(slices, seeing) if seeing else ((s, []) for s in slices):
            for lane in lanes:
                lane.feed(rows, looks)
        return {lane.measure.name: lane.finish() for lane in lanes}

    def _seen(self, slices: Iterator[pa.Table], seeing: list[PixelMeasure]) -> Iterator[tuple[pa.Table, list[Look]]]:
        """Each slice without its images, and what became of each row's image."""
        threads = self._threads or min(4, len(os.sched_getaffinity(0)))
        waiting: deque[tuple[pa.Table, list[Future[Look]]]] = deque()
        one_large = threading.Lock()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            for rows in slices:
                futures = [pool.submit(self._look, seeing, rows, i, one_large) for i in range(rows.num_rows)]
                waiting.append((rows.drop_columns(["image"]), futures))
                if len(waiting) == 2:
                    yield _results(*waiting.popleft())
            while waiting:
                yield _results(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, seeing: list[PixelMeasure], rows: pa.Table, row: int, one_large: threading.Lock) -> Look:
        data = memoryview(rows["image"][row].as_buffer())
        orientation: Any = rows["orientation"][row].as_py()

        def looks(max_pixels: int) -> Look:
            image = decode(data, orientation, max_pixels)
            return [measure.look(image) for measure in seeing]

        try:
            try:
                return looks(min(_LARGE, self._max_pixels))
            except TooManyPixels:
                with one_large:
                    return looks(self._max_pixels)
        except Undecodable as error:
            return error
        except Exception as error:
            error.add_note(f"while looking at sample {rows['sample_id'][row].as_py()}")
            raise


def _results(rows: pa.Table, futures: list[Future[Look]]) -> tuple[pa.Table, list[Look]]:
    return rows, [f.result() for f in futures]


class _Lane:
    """One measure's way through a part: rows come in order and end as one outcome. This one needs no pixels."""

    def __init__(self, measure: Stage) -> None:
        self.measure = measure
        self._done: list[pa.Table] = []

    def feed(self, rows: pa.Table, _looks: list[Look]) -> None:
        self._done.append(self._wide(self.measure.process(rows)))

    def finish(self) -> Outcome:
        """The outcome over all rows fed."""
        return self._narrow(self._joined())

    def _wide(self, outcome: Outcome) -> pa.Table:
        """Emitted columns and evidence in one table."""
        table = outcome.table.select(self.measure.emits.columns())
        for name, kind in _EVIDENCE.items():
            column = getattr(outcome, name)
            table = table.append_column(name, pa.nulls(table.num_rows, kind) if column is None else column.cast(kind))
        return table.cast(pa.schema([f.with_nullable(True) for f in table.schema]))

    def _joined(self) -> pa.Table:
        if self._done:
            return pa.concat_tables(self._done).combine_chunks()
        return self._wide(Outcome.all_kept(self.measure.emits.arrow_schema().empty_table()))

    def _narrow(self, wide: pa.Table) -> Outcome:
        evidence: dict[str, Any] = {name: wide[name].combine_chunks() for name in _EVIDENCE}
        return Outcome(wide.drop_columns(list(_EVIDENCE)), **evidence)


class _PixelLane(_Lane):
    """Takes its measure's look of every image, leaves out what did not decode, and cuts as the measure wants."""

    def __init__(self, measure: PixelMeasure, which: int) -> None:
        super().__init__(measure)
        self._pixel_measure = measure
        self._which = which
        self._ids: list[str] = []
        self._broken: list[str | None] = []
        self._rows: list[pa.Table] = []
        self._looks: list[Any] = []

    def feed(self, rows: pa.Table, looks: list[Look]) -> None:
        whole = [not isinstance(look, Undecodable) for look in looks]
        ids: list[Any] = rows["sample_id"].to_pylist()
        self._ids.extend(ids)
        self._broken.extend(str(look) if isinstance(look, Undecodable) else None for look in looks)
        self._rows.append(rows.filter(pa.array(whole, pa.bool_())))
        self._looks.extend(look[self._which] for look in looks if not isinstance(look, Undecodable))
        cut = self._pixel_measure.cut or len(self._looks)
        while cut and len(self._looks) >= cut:
            self._gather(cut)

    def finish(self) -> Outcome:
        if self._looks:
            self._gather(len(self._looks))
        table = self._joined()
        if any(b is not None for b in self._broken):
            table = self._scattered(table)
        return self._narrow(table)

    def _gather(self, count: int) -> None:
        rows = pa.concat_tables(self._rows)
        self._done.append(self._wide(self._pixel_measure.gather(rows.slice(0, count), self._looks[:count])))
        self._rows, self._looks = [rows.slice(count)], self._looks[count:]

    def _scattered(self, good: pa.Table) -> pa.Table:
        """`good` rows at their places; nulls and `undecodable` where an image did not decode."""
        broken = pa.array(self._broken, pa.string())
        kept = pc.is_null(broken)
        ordinal = pc.subtract(pc.cumulative_sum(kept.cast(pa.int64())), 1)
        table = good.take(pc.if_else(kept, ordinal, pa.scalar(None, pa.int64())))
        undecodable = pc.if_else(kept, pa.scalar(None, pa.string()), pa.scalar(str(MeasureReason.UNDECODABLE)))
        return _replaced(
            table,
            sample_id=pa.array(self._ids, pa.string()),
            reason=pc.coalesce(undecodable, table["reason"]),
            detail=pc.coalesce(broken, table["detail"]),
        )


def _replaced(table: pa.Table, **columns: Any) -> pa.Table:
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table
