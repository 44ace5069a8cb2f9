"""A schema is declared once and holds at every boundary."""

from typing import Annotated

import pyarrow as pa
import pytest

from schemas.row import ContractBreach, Float32, Int32, Row, cast, nullable
from schemas.sample import Candidate, ClipScore, Stored


class Inner(Row):
    x: Float32


class Example(Row):
    name: str
    """What it is called."""
    count: Int32 | None
    raw: bytes
    digest: Annotated[bytes, pa.binary(4)]
    inner: list[Inner] | None


class More(Example):
    extra: bool


def test_types_are_declared_once() -> None:
    schema = Example.arrow_schema()
    assert schema.field("name").type == pa.string() and not schema.field("name").nullable
    assert schema.field("count").type == pa.int32() and schema.field("count").nullable
    assert schema.field("raw").type == pa.large_binary()
    assert schema.field("digest").type == pa.binary(4)
    assert schema.field("inner").type.value_type == pa.struct([pa.field("x", pa.float32(), nullable=False)])


def test_docstring_becomes_metadata() -> None:
    assert Example.arrow_schema().field("name").metadata == {b"description": b"What it is called."}


def test_inheritance_is_the_pipeline() -> None:
    assert More.columns() == [*Example.columns(), "extra"]


def test_unknown_type_is_refused() -> None:
    class Odd(Row):
        when: complex

    with pytest.raises(TypeError, match="no Arrow type"):
        Odd.arrow_schema()


def test_cast_refuses_a_null_where_none_may_be() -> None:
    table = pa.table({"x": pa.array([1.0, None], pa.float32())})
    assert table.cast(pa.schema([("x", pa.float32())])).num_rows == 2
    with pytest.raises(ContractBreach, match="column 'x' has 1 nulls"):
        cast(table, Inner.arrow_schema(), "here")


def test_cast_names_the_missing_column() -> None:
    with pytest.raises(ContractBreach, match="column 'x' is missing") as caught:
        cast(pa.table({"y": [1.0]}), Inner.arrow_schema(), "here")
    assert caught.value.column == "x"


def test_cast_names_the_column_of_a_wrong_type() -> None:
    with pytest.raises(ContractBreach, match="column 'x'"):
        cast(pa.table({"x": ["one"]}), Inner.arrow_schema(), "here")


def test_cast_drops_what_the_contract_does_not_name() -> None:
    out = cast(pa.table({"y": [1], "x": pa.array([1.0], pa.float32())}), Inner.arrow_schema(), "here")
    assert out.column_names == ["x"]


def test_families_store_rejected_rows_as_nulls() -> None:
    for row in (Candidate, Stored, ClipScore):
        schema = nullable(row.arrow_schema())
        assert not schema.field("sample_id").nullable
        assert all(f.nullable for f in schema if f.name != "sample_id")
