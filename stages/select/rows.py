"""The rows of a build, part by part: the columns that rules read, and which stage rejected a row first, with evidence.

Families of a part hold the same rows in the same order, so they are laid side by side, not joined.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute

from schemas.errors import WrongData
from stages.ahead import ahead
from stages.families import EVIDENCE, FAMILIES, part_file, stage_of
from stages.sql import widened
from stages.store import Store

pc: Any = pyarrow.compute  # its stubs refuse plain Python scalars

UPSTREAM = ["up_stage", *(f"up_{name}" for name in EVIDENCE.names)]
_BATCH = 65_536


def chunks(store: Store, families: list[str], columns: list[str], parts: int) -> Iterator[pa.Table]:
    """All rows in (part, row) order, some ten thousand at a time.

    Columns: part, row, sample_id, those of `columns` (floats that are NaN become null), and `up_stage`, `up_reason`,
    `up_value`, `up_threshold`, `up_detail`: the first rejection by a stage before select; null for a row still alive.
    Raises WrongData when a file is missing or not aligned with the others.
    """
    held: list[pa.Table] = []
    rows = 0
    for table in ahead(lambda part: _part(store, families, columns, part), range(parts)):
        held.append(table)
        rows += table.num_rows
        if rows >= _BATCH:
            yield pa.concat_tables(held)
            held, rows = [], 0
    if held:
        yield pa.concat_tables(held)


def _part(store: Store, families: list[str], columns: list[str], part: int) -> pa.Table:
    ids: Any = None
    found: dict[str, Any] = {}
    up: dict[str, Any] = {}
    for family in families:
        wanted = [c for c in FAMILIES[family].columns() if c in columns and c not in found and c != "sample_id"]
        table = store.read_table(part_file(family, part), ["sample_id", *wanted, *EVIDENCE.names])
        if ids is None:
            ids = table["sample_id"].combine_chunks()
            up = {name: pa.nulls(len(ids), pa.string()) for name in ("up_stage", "up_reason", "up_detail")}
            up |= {name: pa.nulls(len(ids), pa.float64()) for name in ("up_value", "up_threshold")}
        elif table["sample_id"].combine_chunks() != ids:
            raise WrongData(f"{part_file(family, part)} holds other rows than the pool", "delete it and build again")
        found |= {name: sound(table[name].combine_chunks()) for name in wanted}
        reason = table["reason"].combine_chunks()
        first = pc.and_(pc.is_valid(reason), pc.is_null(up["up_reason"]))
        up["up_stage"] = pc.if_else(first, stage_of(family), up["up_stage"])
        for name in EVIDENCE.names:
            up[f"up_{name}"] = pc.if_else(first, table[name].combine_chunks(), up[f"up_{name}"])
    n = len(ids)
    place = {"part": pa.repeat(pa.scalar(part, pa.int32()), n), "row": pa.array(range(n), pa.int32())}
    ordered = {c: found[c] for c in columns if c in found}
    return pa.table({**place, "sample_id": ids, **ordered, **{name: up[name] for name in UPSTREAM}})


def sound(column: Any) -> Any:
    """As DuckDB takes it; NaN is no measurement: it becomes null, and a null fails every rule."""
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    kind = widened(column.type)
    return column if kind == column.type else column.cast(kind)
