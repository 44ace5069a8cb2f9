"""What a shard says of a sample in words: the bytes of its `.json`, `.txt` and, where there are masks, `.masks.json`.

Every column of every family is in the JSON under its own name, but for the embeddings and for where the image lay in
its part. Keys are sorted, UTF-8, no spaces. A float32 measure is written with as many digits as name it (0.3, not
0.30000001192092896); NaN and infinities are null, because JSON has none; binary is hex.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.families import sample_schema

_PLACE = ("member", "offset", "size")
_ACCOUNT = ("dropped", "mask_rules")
"""Columns about what is not kept, or how it was judged."""
MASKS = "masks"
"""The column that has a member of its own: `.masks.json`."""


def is_embedding(kind: pa.DataType) -> bool:
    """Whether a column holds one vector per row: those stay in the measures' files."""
    return pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)  # pyright: ignore[reportAttributeAccessIssue]


def sharded_schema(families: list[str]) -> pa.Schema:
    """Columns that a shard's writer needs of a sample: part, row, and every family's columns but embeddings."""
    fields = [field for field in sample_schema(families) if not is_embedding(field.type)]
    return pa.schema([field for field in fields if field.name not in _ACCOUNT])


def sharded_columns(family: str) -> list[str]:
    """Columns of one family that a shard says of a sample."""
    return [name for name in sharded_schema([family]).names if name not in ("part", "row")]


def documents(table: pa.Table) -> list[bytes]:
    """The JSON of each row of a table with `sharded_schema` and the column `split`."""
    shown = table.drop_columns([name for name in (*_PLACE, MASKS) if name in table.column_names])
    for i, field in enumerate(shown.schema):
        shown = shown.set_column(i, field.name, _plain(shown.column(i)))
    return [_document(row) for row in shown.to_pylist()]


def captions(table: pa.Table) -> list[bytes]:
    """The `.txt` of each row: the caption alone."""
    return [(caption or "").encode() for caption in table["caption"].to_pylist()]


def mask_documents(table: pa.Table) -> list[bytes] | None:
    """The `.masks.json` of each row: a list of masks in COCO's terms. None where the build has no masks.

    `[{"segmentation": {"size": [height, width], "counts": …}, "bbox": [x, y, w, h], "area", "label", "best", …}]`
    """
    if MASKS not in table.column_names:
        return None
    return [_dumped([_mask(mask) for mask in masks or ()]) for masks in table[MASKS].to_pylist()]


def _mask(mask: dict[str, Any]) -> dict[str, Any]:
    rle = mask["rle"]
    said = {name: _short(value) for name, value in mask.items() if name not in ("rle", "x", "y", "w", "h")}
    segmentation = {"size": [rle["height"], rle["width"]], "counts": rle["counts"]}
    return said | {"bbox": [mask[side] for side in ("x", "y", "w", "h")], "segmentation": segmentation}


def shortest(column: Any) -> Any:
    """A float32 column as float64 with the shortest digits that name it; other columns as they are."""
    return column.cast(pa.string()).cast(pa.float64()) if pa.types.is_float32(column.type) else column


def _plain(column: Any) -> Any:
    column = shortest(column)
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    return column


def _document(row: dict[str, Any]) -> bytes:
    row = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    if row.get("extra") is not None:
        row["extra"] = json.loads(row["extra"], parse_constant=lambda _: None)
    for name in ("boxes", "points", "texts"):
        if row.get(name) is not None:
            row[name] = [{key: _short(value) for key, value in place.items()} for place in row[name]]
    return _dumped(row)


def _dumped(said: Any) -> bytes:
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(str(np.float32(value))) if np.isfinite(value) else None
