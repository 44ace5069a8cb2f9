"""The work of one worker on one part after select: families about what it kept.

As `pipelines/run_part.py`, and with the decision on each row; the rows that are not kept any more have nulls.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.run_part import Receipt, StageRunner, WorkOrder, blame, joined, scatter, with_evidence
from schemas.errors import PairmillError, WrongData
from stages.base import Outcome
from stages.families import SELECTION, part_file
from stages.late import LateStage
from stages.payload import read_range
from stages.store import Store

_PICTURES = 256
"""Samples at a time where the stage sees pictures: their bytes are in memory."""


class LateRunner(StageRunner[LateStage]):
    """Writes one late family of a part."""

    def __init__(self, store: Store, stage: LateStage, before: list[str]) -> None:
        """`before`: the late families that may have rejected rows already."""
        super().__init__(store, stage)
        self._before = before
        self.light = stage.light

    def run(self, order: WorkOrder) -> Receipt:
        pool = self._store.read_table(part_file("pool", order.part))
        kept = self._kept(order.part)
        if len(kept) != pool.num_rows:
            raise WrongData(f"{SELECTION} is not about the rows of part {order.part:05d}", "run the build again")
        rows = self._rows(order.part, pool).filter(kept)
        outcomes = [self._process(order.part, batch) for batch in self._batches(order.part, rows)]
        whole = _together(outcomes)
        table = with_evidence(whole.table, self._stage.emits.arrow_schema(), whole, self._stage.name)
        table = scatter(table, pool, kept)
        ((family, origin),) = order.origins.items()
        self._store.write_table(part_file(family, order.part), table, origin.seal(table))
        return Receipt(order.part, rows.num_rows, whole.reason.null_count)

    def _kept(self, part: int) -> pa.BooleanArray:
        kept: Any = kept_rows(self._store, part)
        for family in self._before:
            reason = self._store.read_table(part_file(family, part), ["reason"])["reason"].combine_chunks()
            kept = pc.and_(kept, pc.is_null(reason))
        return kept

    def _rows(self, part: int, pool: pa.Table) -> pa.Table:
        """Every column that the stage reads, of all rows, but for the pictures."""
        rows = joined(pool, self._store.read_table(part_file("parts", part)))
        for family, columns in self._stage.reads().items():
            if family not in ("pool", "parts"):
                more = self._store.read_table(part_file(family, part), columns)
                for name in columns:
                    rows = rows.append_column(name, more[name])
        return rows

    def _process(self, part: int, batch: pa.Table) -> Outcome:
        try:
            return self._stage.process(batch)
        except PairmillError:
            raise
        except Exception as error:
            raise blame(self._stage.name, part, batch, error, self._stage.process) from error

    def _batches(self, part: int, rows: pa.Table) -> Iterator[pa.Table]:
        if not self._stage.sees_pictures:
            yield rows
            return
        with self._store.open(f"parts/{part:05d}.tar") as tar:
            for start in range(0, max(rows.num_rows, 1), _PICTURES):
                batch = rows.slice(start, _PICTURES)
                images = [read_range(tar, r["offset"], r["size"]) for r in batch.select(["offset", "size"]).to_pylist()]
                yield batch.append_column("image", pa.array(images, pa.large_binary()))


def kept_rows(store: Store, part: int) -> pa.BooleanArray:
    """Which rows of a part select kept, in order. Reads the row groups that hold the part."""
    pieces: list[Any] = []
    with store.open(SELECTION) as file:
        reader = pq.ParquetFile(file)
        column = reader.schema_arrow.get_field_index("part")
        for group in range(reader.num_row_groups):
            known: Any = reader.metadata.row_group(group).column(column).statistics
            if known is None or known.min <= part <= known.max:
                table = reader.read_row_group(group, ["part", "kept"])
                pieces.append(table.filter(pc.equal(table["part"], pa.scalar(part, pa.int32())))["kept"])
    chunks = [chunk for piece in pieces for chunk in piece.chunks]
    return pa.chunked_array(chunks, pa.bool_()).combine_chunks()  # pyright: ignore[reportReturnType]


def _together(outcomes: list[Outcome]) -> Outcome:
    """The outcomes of a part's batches as one."""

    def column(name: str, kind: Any) -> Any:
        found = [getattr(o, name) for o in outcomes]
        rows = [len(o.reason) for o in outcomes]
        whole = [pa.nulls(n, kind) if c is None else c.cast(kind) for c, n in zip(found, rows, strict=True)]
        return pa.chunked_array(whole, kind).combine_chunks()

    return Outcome(
        pa.concat_tables([o.table for o in outcomes]),
        column("reason", pa.string()),
        column("value", pa.float64()),
        column("threshold", pa.float64()),
        column("detail", pa.string()),
    )
