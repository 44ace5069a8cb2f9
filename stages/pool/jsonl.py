"""JSON Lines: one object a line. A line that is no object is a malformed row; blank lines are no rows.

Numbers in text columns become text. NaN and Infinity, which JSON does not know, are read as null.
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from schemas.errors import WrongRequest
from schemas.recipe import ColumnMap
from stages.pool.chunk import STRUCTURED, Chunk, Column, mapped, own, shown
from stages.pool.extra import dumps
from stages.pool.files import PoolFile
from stages.pool.lines import MAX_LINE, Overlong, lines

CHUNK_ROWS = 8192
CHUNK_BYTES = 16 << 20
MAX_DEPTH = 64
"""Levels of nesting; far below where Python's own limit depends on who called."""
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_SAMPLE_ROWS = 1000
"""Rows looked at to learn the keys."""


def keys(file: PoolFile) -> list[str]:
    """Every key of the first 1,000 objects, in order of appearance; an empty list for a file without any.

    Raises WrongRequest when the file is one JSON array.
    """
    found: dict[str, None] = {}
    for i, line in enumerate(_rows(file)):
        if i == 0:
            _refuse_array(file, line)
        if i == _SAMPLE_ROWS:
            break
        value = _parse(line)
        if isinstance(value, dict):
            found.update(dict.fromkeys(value))
    return list(found)


def read(file: PoolFile, columns: ColumnMap, extra: bool) -> Iterator[Chunk]:
    """The file's rows, in chunks of bounded size."""
    held: list[bytes] = []
    size = 0
    for line in _rows(file):
        held.append(line)
        size += len(line)
        if len(held) == CHUNK_ROWS or size > CHUNK_BYTES:
            yield _chunk(held, columns, extra)
            held, size = [], 0
    if held:
        yield _chunk(held, columns, extra)


def _rows(file: PoolFile) -> Iterator[bytes]:
    return (line for line in lines(file) if not line.isspace())


def _refuse_array(file: PoolFile, line: bytes) -> None:
    if not line.lstrip().startswith(b"["):
        return
    value = _parse(line)
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        raise WrongRequest(
            f"pool file {file.path} is one JSON array, not one object a line", "convert it: jq -c '.[]' FILE"
        )


def _parse(line: bytes) -> Any:
    """The value, or a string that says what is wrong (a JSON string itself is wrong, too)."""
    if type(line) is Overlong:
        return f"a line of more than {MAX_LINE} bytes"
    try:
        value = _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        return f"invalid UTF-8: {shown(line[max(0, error.start - 10) : error.end + 10])}"
    except RecursionError:
        return "nested too deep"
    except ValueError as error:
        return f"not JSON: {error}"
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _deep(value):
        return "nested too deep"
    return f"a JSON string, not an object: {shown(value)}" if isinstance(value, str) else value


def _deep(value: Any) -> bool:
    """Whether anything lies more than MAX_DEPTH levels down."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [c for v in level if isinstance(v, (list, dict)) for c in (v.values() if isinstance(v, dict) else v)]
    return bool(level)


def _chunk(lines_: list[bytes], columns: ColumnMap, extra: bool) -> Chunk:
    roles, kept = mapped(columns), own(columns)
    malformed: dict[int, str] = {}
    values: dict[str, list[Any]] = {role: [None] * len(lines_) for role in roles}
    others: list[str | None] = [None] * len(lines_)
    for i, line in enumerate(lines_):
        value = _parse(line)
        if not isinstance(value, dict):
            malformed[i] = value if isinstance(value, str) else f"not an object: {shown(value)}"
            continue
        try:
            if b"\\u" in line:
                _check_text(value)
            if extra and not kept.issuperset(value):
                others[i] = dumps({name: cell for name, cell in value.items() if name not in kept})
            for role, name in roles.items():
                values[role][i] = value.get(name) if role in STRUCTURED else _text(value, name)
        except ValueError as error:
            malformed[i] = str(error)
            others[i] = None
            for column in values.values():
                column[i] = None
    lists = {role: values.pop(role) for role in STRUCTURED if role in values}
    text: dict[str, Column] = {role: pa.array(column, pa.string()) for role, column in values.items()}
    return Chunk(len(lines_), text, lists, pa.array(others, pa.string()) if extra else None, malformed)


def _text(row: dict[str, Any], name: str) -> str | None:
    """A cell as text. Raises ValueError for one that is a list or an object."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        raise ValueError(f"{name} is a {'list' if isinstance(value, list) else 'object'}, not text")
    return json.dumps(value)


def _check_text(row: dict[str, Any]) -> None:
    """Raises ValueError where an escape has left half a surrogate pair, which is no text."""
    for name, value in row.items():
        try:
            f"{name}{json.dumps(value, ensure_ascii=False)}".encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{shown(name)} has half a surrogate pair") from error
