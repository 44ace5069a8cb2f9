"""Tables written in batches: the file, its bytes and its hash do not depend on the cut."""

from pathlib import Path

import pyarrow as pa
import pytest

from stages.batches import write_batches
from stages.store import ROWS_AT_ONCE, Seal, Store, content_hash

SCHEMA = pa.schema(
    [pa.field("i", pa.int64(), nullable=False), pa.field("s", pa.string()), pa.field("l", pa.list_(pa.int8()))]
)


def table(rows: int) -> pa.Table:
    texts = [None if i % 5 == 0 else f"row {i}" for i in range(rows)]
    lists = [None if i % 7 == 0 else [i % 100] * (i % 3) for i in range(rows)]
    return pa.table({"i": range(rows), "s": texts, "l": lists}, schema=SCHEMA)


def seal(content: str, rows: int) -> Seal:
    return Seal("f", content, "test", rows, {"more": 1})


@pytest.mark.parametrize("rows", [0, 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE - 17])
def test_hash_and_bytes_are_those_of_the_whole_table(rows: int, tmp_path: Path) -> None:
    store, whole = Store(str(tmp_path)), table(rows)
    written = {}
    for name, step in (("a", 50_000), ("b", 131_072), ("c", max(rows, 1))):
        made = write_batches(store, name, SCHEMA, (whole.slice(s, step) for s in range(0, rows, step)), seal)
        assert made == store.seal(name) == Seal("f", content_hash(whole), "test", rows, {"more": 1})
        assert store.read_table(name).equals(whole)
        written[name] = store.sha256(name)
    assert len(set(written.values())) == 1


def test_the_hash_sees_every_value() -> None:
    whole = table(ROWS_AT_ONCE + 10)
    other = whole.set_column(0, SCHEMA.field(0), pa.array([*range(ROWS_AT_ONCE + 9), -1]))
    assert content_hash(whole) != content_hash(other)
    assert content_hash(whole) == content_hash(pa.concat_tables([whole.slice(0, 3), whole.slice(3)]))


def test_nothing_is_committed_when_a_batch_fails(tmp_path: Path) -> None:
    def broken() -> object:
        yield table(10)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        write_batches(Store(str(tmp_path)), "x", SCHEMA, broken(), seal)  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []
