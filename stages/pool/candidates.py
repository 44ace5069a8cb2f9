"""A chunk as read → rows of the family `pool`: ids, checks, and a reason for each row that is no candidate."""

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.row import cast
from stages.families import family_schema
from stages.pool import ids, structured
from stages.pool.chunk import STRUCTURED, Chunk, Column, shown
from stages.pool.reasons import PoolReason

SCHEMA: pa.Schema = family_schema("pool")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def candidates(chunk: Chunk, source: str, first_row: int) -> pa.Table:
    """Rows of `chunk`, which starts at `first_row` of `source`, as the family `pool` has them (SCHEMA)."""
    malformed = dict(chunk.malformed)
    url, caption = chunk.text["url"], chunk.text["caption"]
    promised = _sha256(chunk.text.get("sha256"), chunk.rows, malformed)
    lists = {role: structured.parse(role, chunk.structured.get(role), chunk.rows, malformed) for role in STRUCTURED}
    if "key" in chunk.text:
        malformed.update({i: "the key is missing" for i in _rows(_blank(chunk.text["key"])) if i not in malformed})
    detail = _sparse(malformed, chunk.rows)
    reason = _reasons(detail, url, caption)
    columns = {
        "sample_id": _ids(chunk, reason, source, first_row),
        "source": pa.repeat(pa.scalar(source), chunk.rows),
        "source_row": pa.array(range(first_row, first_row + chunk.rows), pa.int64()),
        "url": url,
        "caption": caption,
        "expected_sha256": promised,
        "language": _none_if_blank(chunk.text.get("language"), chunk.rows),
        **lists,
        "extra": pa.nulls(chunk.rows, pa.string()) if chunk.extra is None else chunk.extra,
        "reason": reason,
        "value": pa.nulls(chunk.rows, pa.float64()),
        "threshold": pa.nulls(chunk.rows, pa.float64()),
        "detail": detail,
    }
    return cast(pa.table(columns), SCHEMA, source)


def with_repeats(table: pa.Table, repeats: Mapping[int, int]) -> pa.Table:
    """The table with each repeated row (row → ordinal from 1) rejected, under an id of its own."""
    if not repeats:
        return table
    sample_id, reason, detail = (_values(table, name) for name in ("sample_id", "reason", "detail"))
    for row, ordinal in repeats.items():
        detail[row] = sample_id[row]
        sample_id[row] = ids.of_repeat(sample_id[row], ordinal)
        reason[row] = PoolReason.REPEATED_ROW.value
    for name, values in (("sample_id", sample_id), ("reason", reason), ("detail", detail)):
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, pa.string()))
    return table


def _values(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist()


def _reasons(detail: Column, url: Column, caption: Column) -> Column:
    """The first that holds: malformed, no url, no caption."""
    return pc.case_when(
        pc.make_struct(pc.is_valid(detail), _blank(url), _blank(caption)),
        *(pa.scalar(r.value) for r in (PoolReason.MALFORMED_ROW, PoolReason.MISSING_URL, PoolReason.MISSING_CAPTION)),
    ).cast(pa.string())


def _ids(chunk: Chunk, reason: Column, source: str, first_row: int) -> Column:
    key = chunk.text.get("key")
    found = ids.of_rows(chunk.text["url"], chunk.text["caption"]) if key is None else ids.of_keys(key)
    if reason.null_count == chunk.rows:
        return found
    out = found.to_pylist()
    for i in _rows(pc.is_valid(reason)):
        out[i] = ids.of_place(source, first_row + i)
    return pa.array(out, pa.string())


def _blank(column: Column) -> Column:
    """True where a text is null or nothing but white space (Unicode's White_Space)."""
    trimmed: Any = pc.utf8_trim_whitespace(column)
    return pc.fill_null(pc.equal(trimmed, pa.scalar("")), pa.scalar(True))


def _none_if_blank(column: Column | None, rows: int) -> Column:
    if column is None:
        return pa.nulls(rows, pa.string())
    return pc.if_else(_blank(column), pa.scalar(None, pa.string()), column)


def _sha256(column: Column | None, rows: int, malformed: dict[int, str]) -> Column:
    """Lower-case hex; what is not 64 hex digits makes its row malformed."""
    if column is None:
        return pa.nulls(rows, pa.string())
    out = [(v and v.strip().lower()) or None for v in column.to_pylist()]
    for i, value in enumerate(out):
        if value is not None and not _SHA256.fullmatch(value):
            malformed.setdefault(i, f"sha256 is not 64 hex digits: {shown(value)}")
            out[i] = None
    return pa.array(out, pa.string())


def _rows(mask: Column) -> list[int]:
    found: Any = pc.indices_nonzero(mask)
    return found.to_pylist()


def _sparse(values: dict[int, str], rows: int) -> Column:
    if not values:
        return pa.nulls(rows, pa.string())
    return pa.array([values.get(i) for i in range(rows)], pa.string())
