"""One Parquet file: its bytes against the manifest, its columns against the contract, its rows against its seal."""

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.checks.finding import Finding, Scope
from schemas.errors import WrongData
from schemas.row import ContractBreach, cast
from stages.store import Seal, content_hash

TORN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, NotImplementedError)
"""What pyarrow raises on bytes that are not what they were: sizes and types out of a damaged footer can be anything."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file held; `table` is None where it could not be read or has other columns."""

    table: pa.Table | None
    seal: Seal | None
    findings: list[Finding]


def check_parquet(scope: Scope, name: str, schema: pa.Schema) -> Checked:
    """Read and check a file that must be there with exactly `schema`."""
    try:
        data = scope.store.read_bytes(name)
    except WrongData:
        return Checked(None, None, [Finding(name, "is missing")])
    found = scope.against_manifest(name, len(data), hashlib.sha256(data).hexdigest())
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        seal = Seal.decode(file.schema_arrow.metadata)
        table = file.read()
        table.validate(full=True)
    except TORN as error:
        return Checked(None, None, [*found, Finding(name, f"cannot be read: {_first_line(error)}")])
    found += _sealed(name, table, seal)
    broken = contract(name, table, schema)
    return Checked(None if broken else table, seal, found + broken)


def contract(name: str, table: pa.Table, schema: pa.Schema) -> list[Finding]:
    """Whether a table has these columns with these types, in this order, and no null where none may be."""
    if table.column_names != schema.names:
        return [Finding(name, f"has the columns {table.column_names}, not {schema.names}")]
    for field, want in zip(table.schema, schema, strict=True):
        if field.type != want.type:
            return [Finding(name, f"column {want.name!r} is {field.type}, not {want.type}")]
    return breach(name, table, schema)


def breach(name: str, table: pa.Table, schema: pa.Schema) -> list[Finding]:
    """Nulls where none may be."""
    try:
        cast(table, schema, name)
    except ContractBreach as error:
        return [Finding(name, str(error).removeprefix(f"{name}: "))]
    return []


def _sealed(name: str, table: pa.Table, seal: Seal | None) -> list[Finding]:
    if seal is None:
        return [Finding(name, "carries no seal")]
    if seal.rows != table.num_rows:
        return [Finding(name, f"holds {table.num_rows} rows, its seal says {seal.rows}")]
    if seal.content != content_hash(table):
        return [Finding(name, "its rows are not those that its seal was made for")]
    return []


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
