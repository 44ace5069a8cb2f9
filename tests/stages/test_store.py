"""A file is whole or not there; its own footer says what it was made of."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import WrongData, WrongRequest
from stages.store import Store, content_hash, digest, sealed

TABLE = pa.table({"sample_id": ["a", "b"], "x": [1.5, None]})


@pytest.fixture(params=["path", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "build") if request.param == "path" else f"memory://{tmp_path.name}/build")


def test_seal_comes_back(store: Store) -> None:
    store.write_table("measures/x/00000.parquet", TABLE, sealed(TABLE, "fp", "measure/x", note=3))
    seal = store.seal("measures/x/00000.parquet")
    assert seal is not None
    assert (seal.fingerprint, seal.stage, seal.rows, seal.extra) == ("fp", "measure/x", 2, {"note": 3})
    assert seal.content == content_hash(TABLE)
    assert store.read_table("measures/x/00000.parquet").equals(TABLE)


def test_same_table_same_bytes(store: Store) -> None:
    store.write_table("a.parquet", TABLE, sealed(TABLE, "fp", "s"))
    store.write_table("b.parquet", pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]), sealed(TABLE, "fp", "s"))
    assert store.sha256("a.parquet") == store.sha256("b.parquet")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all"])
def test_torn_file_has_no_seal(store: Store, data: bytes) -> None:
    store.write_bytes("x.parquet", data)
    assert store.seal("x.parquet") is None
    with pytest.raises(WrongData, match=r"x\.parquet cannot be read"):
        store.read_table("x.parquet")


def test_missing_file_is_named(store: Store) -> None:
    with pytest.raises(WrongData, match=r"gone\.parquet is missing"):
        store.read_table("gone.parquet")


def test_an_error_while_writing_commits_nothing(store: Store) -> None:
    store.write_bytes("x.bin", b"old")
    with pytest.raises(RuntimeError), store.committing("x.bin") as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert store.read_bytes("x.bin") == b"old"
    assert list(store.walk()) == ["x.bin"]


def test_listing_is_sorted_and_without_temporaries(store: Store) -> None:
    for name in ("f/b", "f/a", "f/.tmp-1", "g/c"):
        store.write_bytes(name, b"1")
    assert store.listing("f") == {"f/a": 1, "f/b": 1}
    assert store.listing("none") == {}
    assert list(store.walk()) == ["f/a", "f/b", "g/c"]


def test_content_hash_sees_rows_types_and_names_but_not_chunks() -> None:
    assert content_hash(TABLE) == content_hash(pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]))
    assert content_hash(TABLE) == content_hash(TABLE.replace_schema_metadata({"k": "v"}))
    assert content_hash(TABLE) == content_hash(pa.concat_tables([TABLE, TABLE]).slice(2))
    others = [TABLE.slice(0, 1), TABLE.rename_columns(["id", "x"]), TABLE.set_column(1, "x", [pa.array([1.5, 0.0])])]
    assert len({content_hash(t) for t in [TABLE, *others]}) == 4


def test_content_hash_does_not_see_what_lies_under_null_structs(tmp_path: Path) -> None:
    inner = pa.struct([pa.field("n", pa.int32(), nullable=False), pa.field("t", pa.list_(pa.string()))])
    kind = pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("usage", inner)]))
    full = {"n": 7, "t": ["x"]}
    rows = [[{"name": "a", "usage": None}, {"name": "b", "usage": full}], None, []]
    table = pa.table({"x": pa.array(rows, kind)})
    pq.write_table(table, tmp_path / "t.parquet")
    read = pq.read_table(tmp_path / "t.parquet")
    assert content_hash(read) == content_hash(read.take([2, 0, 1]).take([1, 2, 0])) == content_hash(table)
    other = pa.table({"x": pa.array([[rows[0][0], {"name": "b", "usage": {"n": 7, "t": []}}], None, []], kind)})
    assert content_hash(other) != content_hash(table)


def test_content_hash_does_not_see_behind_a_slice() -> None:
    """A short slice shares its buffers with its neighbours; Arrow's IPC writes up to 64 bytes of them."""
    long, other = (pa.table({"x": ["a", "b", tail], "n": [1, None, 3]}) for tail in ("tail", "liat"))
    assert content_hash(long.slice(0, 2)) == content_hash(other.slice(0, 2))
    assert content_hash(long.slice(0, 2)) == content_hash(pa.table({"x": ["a", "b"], "n": [1, None]}))


def test_content_hash_does_not_see_under_nulls() -> None:
    def under(junk: int) -> pa.Table:
        values = pa.py_buffer(b"".join(v.to_bytes(8, "little") for v in (1, junk, 3)))
        return pa.table({"n": pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), values])})

    assert under(0).equals(under(77))
    assert content_hash(under(0)) == content_hash(under(77))


def test_digest_ignores_key_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_store_travels(store: Store) -> None:
    store.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(store)).read_bytes("x") == b"1"


def test_unknown_protocol_is_a_wrong_request() -> None:
    with pytest.raises(WrongRequest, match="nosuch"):
        Store("nosuch://bucket/x")


def test_unwritable_folder_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WrongRequest, match="cannot write to"):
        Store(str(tmp_path / "file" / "build")).require_writable()


def test_full_disk_is_named_and_commits_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with (
        pytest.raises(WrongData, match=r"no space left for x\.bin"),
        store.committing("x.bin"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 100_000)
    assert store.walk() == {}


_WRITER = """
import sys, pyarrow as pa
from stages.store import Store, sealed
store, table = Store(sys.argv[1]), pa.table({"x": list(range(200_000))})
print("ready", flush=True)
while True:
    store.write_table("x.parquet", table, sealed(table, "fp", "s"))
"""


def test_killed_writer_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for pause in (0.0, 0.01, 0.03, 0.06, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if store.exists("x.parquet"):
            assert store.read_table("x.parquet").num_rows == 200_000
            assert store.seal("x.parquet") is not None
    store.sweep()
    assert set(store.walk()) <= {"x.parquet"} and not list(tmp_path.glob(".tmp-*"))


def test_content_hash_of_nested_columns_is_the_same_after_parquet(tmp_path: Path) -> None:
    about = {"description": "inside"}
    box = pa.struct([pa.field("label", pa.string(), metadata=about), pa.field("x", pa.float32(), nullable=False)])
    schema = pa.schema([("boxes", pa.list_(pa.field("item", box, nullable=False))), ("v", pa.list_(pa.float16()))])
    table = pa.Table.from_pylist([{"boxes": [{"label": "a", "x": 1.0}], "v": [1.0]}, {"boxes": None, "v": []}], schema)
    store = Store(str(tmp_path))
    store.write_table("t.parquet", table, sealed(table, "f", "test"))
    assert content_hash(store.read_table("t.parquet")) == content_hash(table)
