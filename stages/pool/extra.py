"""The pool's other columns as one JSON object a row: keys sorted, no white space, UTF-8.

Times become ISO-like text in UTC, decimals text, bytes base64, NaN and infinities null: JSON has no other way.
"""

import base64
import json
import math
from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring  # what json.dumps(ensure_ascii=False) quotes strings with
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types


def as_json(table: pa.Table) -> pa.Array:
    """One JSON object per row of `table`, as a string array."""
    names = sorted(table.column_names)
    if not names:
        return pa.array(["{}"] * table.num_rows, pa.string())
    parts: list[Any] = []
    for i, name in enumerate(names):
        lead = ("{" if i == 0 else ",") + encode_basestring(name) + ":"
        parts += [pa.scalar(lead), _fragments(table[name].combine_chunks())]
    joined = pc.binary_join_element_wise(*parts, pa.scalar("}"), pa.scalar(""))  # the last one is the separator
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def dumps(value: Any) -> str:
    """JSON as this module writes it. Raises ValueError for a number that JSON cannot hold."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _fragments(column: Any) -> pa.Array:
    """Each value as a piece of JSON, `null` for a null."""
    column = plain(column)
    if types.is_integer(column.type) or types.is_boolean(column.type):
        out = column.cast(pa.string())
    elif types.is_string(column.type) or types.is_large_string(column.type):
        out = pa.array([None if v is None else encode_basestring(v) for v in column.to_pylist()], pa.string())
    else:
        out = pa.array([dumps(jsonable(v)) for v in column.to_pylist()], pa.string())
    return pc.fill_null(out, "null")


def plain(column: Any) -> Any:
    """The column without dictionaries, extension types, and types whose Python value depends on what is installed.

    Raises ValueError (ArrowInvalid and ArrowNotImplementedError among them) for a type that has no such form.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    for target in (_retyped(column.type, _in_utc), _retyped(column.type, _simple)):
        column = column if target == column.type else column.cast(target)
    return column


def _in_utc(kind: pa.DataType) -> pa.DataType:
    """Times keep their instant and lose their zone: its rules change from one machine's tables to another's."""
    return pa.timestamp(kind.unit, "UTC") if types.is_timestamp(kind) and kind.tz else kind


def _simple(kind: pa.DataType) -> pa.DataType:
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind):
        return pa.string()
    if types.is_duration(kind):
        return pa.int64()
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    return pa.float32() if types.is_float16(kind) else kind


def _retyped(kind: pa.DataType, leaf: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """The type with every leaf replaced; dictionaries and extension types give way to what they hold."""
    if isinstance(kind, pa.BaseExtensionType):
        return _retyped(kind.storage_type, leaf)
    if types.is_dictionary(kind):
        return _retyped(kind.value_type, leaf)
    if types.is_map(kind):
        return pa.map_(_retyped(kind.key_type, leaf), _retyped(kind.item_type, leaf))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_retyped(kind.value_type, leaf)))
    if types.is_struct(kind):
        if len({f.name for f in kind.fields}) < kind.num_fields:
            raise ValueError("two fields of one name")
        return pa.struct([f.with_type(_retyped(f.type, leaf)) for f in kind.fields])
    return leaf(kind)  # list views among them: pyarrow 26 casts those to the wrong values


def jsonable(value: Any) -> Any:
    """A Python value out of Arrow as one that JSON knows."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
