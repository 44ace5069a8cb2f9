"""One form for equal tables, where Arrow has several: what lies under a null struct."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def canonical(table: pa.Table) -> pa.Table:
    """The same table; where a struct is null, so are its fields. Parquet says so, and builders of arrays do not."""
    for i, of in enumerate(table.schema):
        if _has_structs(of.type):
            chunks = [_array(chunk) for chunk in table.column(i).chunks]
            table = table.set_column(i, of, pa.chunked_array(chunks, of.type))
    return table


def _has_structs(kind: Any) -> bool:
    """Whether a struct lies in a list, or in another struct."""
    if pa.types.is_list(kind):
        return pa.types.is_struct(kind.value_type) or _has_structs(kind.value_type)
    return pa.types.is_struct(kind)


def _array(array: Any) -> Any:
    made: Any = pa  # the stubs know fewer signatures than there are
    if not _has_structs(array.type):
        return array
    if pa.types.is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), pa.scalar(0))
        offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths))]).astype(np.int32)
        values = _array(array.flatten())
        return made.ListArray.from_arrays(pa.array(offsets), values, type=array.type, mask=pc.is_null(array))
    at = pc.if_else(pc.is_valid(array), pa.array(np.arange(len(array))), pa.scalar(None, pa.int64()))
    fields = [array.type.field(i) for i in range(array.type.num_fields)]
    children = [_array(array.field(i).take(at)) for i in range(len(fields))]
    return made.StructArray.from_arrays(children, fields=fields, mask=pc.is_null(array))
