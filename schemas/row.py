"""Rows: a schema declared once, as a frozen pydantic class, and read from there as an Arrow schema.

In the hot path only the Arrow schema is used; instances exist at the edges (recipe, replies, manifest, tests).
`X | None` is a nullable field. A docstring under an attribute becomes the field's metadata in every file.
"""

import types
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    bytes: pa.large_binary(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}

# Narrower Arrow types, to be written as annotations: `width: Int32`.
Int8 = Annotated[int, pa.int8()]
Int16 = Annotated[int, pa.int16()]
Int32 = Annotated[int, pa.int32()]
Float32 = Annotated[float, pa.float32()]


class Row(BaseModel):
    """Base of every record. Subclasses list only the columns they add; inheritance is the pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True)

    @classmethod
    def arrow_schema(cls) -> pa.Schema:
        """Arrow schema of this row: one field per attribute, in declaration order (bases first)."""
        return _schema_of(cls)

    @classmethod
    def columns(cls) -> list[str]:
        """Column names, in schema order."""
        return list(_schema_of(cls).names)


@cache
def _schema_of(row: type[Row]) -> pa.Schema:
    return pa.schema([_field(name, info) for name, info in row.model_fields.items()])


def _field(name: str, info: Any) -> "pa.Field[Any]":
    annotation = info.annotation
    override = next((m for m in info.metadata if isinstance(m, pa.DataType)), None)
    inner, nullable = _without_none(annotation)
    arrow = override if override is not None else _type(inner)
    about = {"description": " ".join(info.description.split())} if info.description else None
    return pa.field(name, arrow, nullable=nullable, metadata=about)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        if len(rest) != 1:
            raise TypeError(f"a column has one type, or one type and None: {annotation}")
        return rest[0], True
    return annotation, False


def _type(annotation: Any) -> pa.DataType:
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *marks = get_args(annotation)
        return next((m for m in marks if isinstance(m, pa.DataType)), None) or _type(base)
    if origin is list:
        (item,) = get_args(annotation)
        inner, nullable = _without_none(item)
        return pa.list_(pa.field("item", _type(inner), nullable=nullable))
    if isinstance(annotation, type) and issubclass(annotation, Row):
        return pa.struct(list(_schema_of(annotation)))
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    raise TypeError(f"no Arrow type is declared for {annotation!r}; annotate it: Annotated[X, pa.some_type()]")


def nullable(schema: pa.Schema, keep: tuple[str, ...] = ("sample_id",)) -> pa.Schema:
    """The same columns, every one nullable but those in `keep`: how a column family stores rejected rows."""
    fields: list[pa.Field[Any]] = list(schema)
    return pa.schema([f if f.name in keep else f.with_nullable(True) for f in fields])


class ContractBreach(ValueError):
    """A table does not fit the schema it must have. Carries the column."""

    def __init__(self, where: str, column: str, problem: str) -> None:
        self.where = where
        self.column = column
        super().__init__(f"{where}: column {column!r} {problem}")


def cast(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """`table` with exactly `schema`'s columns, in its order, safely cast.

    Uses `pa.Table.cast`, which refuses a null where none may be; `pa.table(schema=…)` and `validate()` let it pass.
    Raises ContractBreach naming the column.
    """
    missing = [n for n in schema.names if n not in table.column_names]
    if missing:
        raise ContractBreach(where, missing[0], "is missing")
    chosen = table.select(schema.names)
    fields: list[pa.Field[Any]] = list(schema)
    for field, column in zip(fields, chosen.columns, strict=True):
        if not field.nullable and column.null_count:
            raise ContractBreach(where, field.name, f"has {column.null_count} nulls where none may be")
        if column.type != field.type:
            try:
                column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ContractBreach(where, field.name, f"is {column.type}, not {field.type}: {error}") from error
    return chosen.cast(schema)
