"""Parquet, batch by batch. A compressed file is first unpacked into an unnamed temporary file: reading needs seeks."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from schemas.errors import WrongRequest
from schemas.recipe import ColumnMap
from stages.pool.chunk import STRUCTURED, Chunk, carried, mapped, shown
from stages.pool.extra import as_json, plain
from stages.pool.files import PoolFile

BATCH_ROWS = 8192
_COPY = 1 << 20


def names(file: PoolFile, columns: ColumnMap, extra: bool) -> list[str]:
    """Column names. Raises WrongRequest when a column has a type that cannot be what the recipe makes of it."""
    with _opened(file) as parquet:
        schema = parquet.schema_arrow
    for role, name in mapped(columns).items():
        if schema.names.count(name) != 1:
            continue
        kind = schema.field(name).type
        if not _fits(role, kind):
            raise WrongRequest(
                f"pool.columns.{role}: column {name!r} of {file.path} is {kind}",
                f"map a column of {STRUCTURED.get(role, 'text')}",
            )
    for name in carried(schema.names, columns) if extra else []:
        _check_carried(file, schema.field(schema.names.index(name)))
    return schema.names


def _check_carried(file: PoolFile, field: "pa.Field[Any]") -> None:
    try:
        plain(pa.array([], field.type))
    except (pa.ArrowException, ValueError) as error:
        what = f"column {field.name!r} of {file.path} is {field.type}, which has no form in JSON: {error}"
        raise WrongRequest(what, "set pool.extra to false, or leave the column out") from error


def _fits(role: str, kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if role not in STRUCTURED:
        return not types.is_nested(kind)
    if types.is_list(kind) or types.is_large_list(kind):
        item = kind.value_type
        return types.is_string(item) or types.is_large_string(item) if role == "captions" else types.is_struct(item)
    return types.is_string(kind) or types.is_large_string(kind)


def read(file: PoolFile, columns: ColumnMap, extra: bool) -> Iterator[Chunk]:
    """The file's rows, in chunks. Raises WrongData when a page cannot be read."""
    roles = mapped(columns)
    with _opened(file) as parquet:
        others = carried(parquet.schema_arrow.names, columns) if extra else []
        batches = parquet.iter_batches(BATCH_ROWS, columns=sorted({*roles.values(), *others}))
        while (batch := _next(file, batches)) is not None:
            yield _chunk(pa.Table.from_batches([batch]), roles, others)


def _next(file: PoolFile, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise file.broken(error) from error


@contextmanager
def _opened(file: PoolFile) -> Iterator[pq.ParquetFile]:
    with ExitStack() as stack:
        source = stack.enter_context(file.open())
        if file.compression:
            source = _unpack(file, source, stack.enter_context(tempfile.TemporaryFile()))
        try:
            parquet = pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise file.broken(error) from error
        yield stack.enter_context(parquet)


def _unpack(file: PoolFile, raw: BinaryIO, out: IO[bytes]) -> Any:
    stream = file.unpacked(raw)
    try:
        while block := stream.read(_COPY):
            out.write(block)
    except OSError as error:
        raise file.broken(error) from error
    out.seek(0)
    return out


def _chunk(table: pa.Table, roles: dict[str, str], others: list[str]) -> Chunk:
    malformed: dict[int, str] = {}
    text = {role: _as_text(table[name], role, malformed) for role, name in roles.items() if role not in STRUCTURED}
    lists = {
        role: _utf8(plain(table[name].combine_chunks()), role, malformed).to_pylist()
        for role, name in roles.items()
        if role in STRUCTURED
    }
    extra = None
    if others:
        chosen = {name: _utf8(plain(table[name].combine_chunks()), name, malformed) for name in others}
        extra = as_json(pa.table(chosen))
    return Chunk(table.num_rows, text, lists, extra, malformed)


def _as_text(column: pa.ChunkedArray, role: str, malformed: dict[int, str]) -> pa.Array:
    """A column as strings. Binary sha256 becomes hex; other bytes are read as UTF-8."""
    array = plain(column.combine_chunks())
    kind = array.type
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        if role == "sha256":
            return pa.array([None if v is None else v.hex() for v in array.to_pylist()], pa.string())
        array = array.cast(pa.binary())
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid:
            return _decoded(array, role, malformed)
    return _utf8(array if types.is_string(kind) else array.cast(pa.string()), role, malformed)


def _utf8(array: Any, name: str, malformed: dict[int, str]) -> Any:
    """Arrow does not look into strings that a file says are UTF-8: values that are not become null, rows malformed."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        if types.is_string(array.type) or types.is_large_string(array.type):
            return _decoded(array.cast(pa.binary()), name, malformed)
        valid = [_valid(array.slice(i, 1)) for i in range(len(array))]
        malformed.update({i: f"{name} holds text that is not UTF-8" for i, good in enumerate(valid) if not good})
        return pc.if_else(pa.array(valid), array, pa.scalar(None, array.type))
    return array


def _valid(array: Any) -> bool:
    try:
        array.to_pylist()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(array: Any, name: str, malformed: dict[int, str]) -> pa.Array:
    """Values one by one; those that are not UTF-8 become null and their rows malformed."""
    out: list[str | None] = []
    for i, value in enumerate(array.to_pylist()):
        try:
            out.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            out.append(None)
            malformed[i] = f"{name} is not UTF-8: {shown(value)}"
    return pa.array(out, pa.string())
