"""A global shuffle that fits in memory: an external sort by hash.

Rows carry their key, 33 bytes that begin with the split's rank and go on with a sha256. Hashes are even, so rows are
scattered by their next seven bits into 128 files, again and again until a file fits in memory; each is then sorted.
(DuckDB's sort needs memory in proportion to such wide rows: 500,000 of them did not sort in 300 MB.)
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KEY = "shuffle_key"
_SPLITS = {"train": b"\0", "val": b"\1"}
_BITS = 7
_LEVELS = 9
_SCATTER_ROWS = 50_000
_SORT_ROWS = 8_192


def with_key(table: pa.Table, seed: int) -> pa.Table:
    """`table` with the key of each row: train before val, then sha256 of seed and sample_id."""
    ids: list[Any] = table["sample_id"].to_pylist()
    splits: list[Any] = table["split"].to_pylist()
    keys = [_SPLITS[s] + hashlib.sha256(f"{seed}:{i}".encode()).digest() for s, i in zip(splits, ids, strict=True)]
    return table.append_column(KEY, pa.array(keys, pa.binary(33)))


def in_order(tables: Iterable[pa.Table], scratch: str | None, limit: int = 128 << 20) -> Iterator[pa.Table]:
    """The same rows, smallest key first, in tables of a few thousand.

    `limit`: bytes of rows sorted in memory at once; more go through files in a folder under `scratch`.
    """
    yield from _in_order(tables, scratch, limit, 0)


def _in_order(tables: Iterable[pa.Table], scratch: str | None, limit: int, level: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    size = 0
    coming = iter(tables)
    for table in coming:
        held.append(table)
        size += table.nbytes
        if size > limit and level < _LEVELS:
            with tempfile.TemporaryDirectory(prefix=".tmp-shuffle-", dir=scratch) as folder:
                for path in _scatter(chain(_emptying(held), coming), Path(folder), level):
                    yield from _in_order(_read(path), scratch, limit, level + 1)
                    path.unlink()
            return
    if held:
        whole = pa.concat_tables(_emptying(held)).combine_chunks()
        order = pc.sort_indices(whole[KEY])
        for start in range(0, whole.num_rows, _SORT_ROWS):
            yield whole.take(order.slice(start, _SORT_ROWS))


def _scatter(tables: Iterable[pa.Table], folder: Path, level: int) -> list[Path]:
    """Append every row to the file of its bits at `level`; the files in order of those bits."""
    writers: dict[int, Any] = {}
    try:
        for table in _large(tables):
            bucket = _bits(table, level)
            order = np.argsort(bucket, kind="stable")
            sorted_rows = table.take(order)
            found, starts = np.unique(bucket[order], return_index=True)
            ends = [*starts[1:].tolist(), table.num_rows]
            for number, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
                if number not in writers:
                    options = pa.ipc.IpcWriteOptions(compression="lz4")
                    writers[number] = pa.ipc.new_stream(str(folder / f"{number:03d}"), table.schema, options=options)
                writers[number].write_table(sorted_rows.slice(start, end - start))
    finally:
        for writer in writers.values():
            writer.close()
    return [folder / f"{number:03d}" for number in sorted(writers)]


def _bits(table: pa.Table, level: int) -> Any:
    """Seven bits of each row's key: the split's rank, then the hash."""
    keys = b"".join(table[KEY].to_pylist())  # pyright: ignore[reportArgumentType, reportCallIssue]
    rows = np.frombuffer(keys, np.uint8).reshape(-1, 33)
    first = np.ascontiguousarray(rows[:, 1:9]).view(">u8").ravel().astype(np.uint64) >> np.uint64(1)
    first |= rows[:, 0].astype(np.uint64) << np.uint64(63)
    return (first >> np.uint64(64 - _BITS * (level + 1))) & np.uint64(2**_BITS - 1)


def _large(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables put together: a scattered row costs little when many are scattered at once."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(t.num_rows for t in held) >= _SCATTER_ROWS:
            yield pa.concat_tables(_emptying(held)).combine_chunks()
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _read(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _emptying(tables: list[pa.Table]) -> list[pa.Table]:
    """What the list holds; the list is empty afterwards, so that memory is free as soon as it is used."""
    out = tables.copy()
    tables.clear()
    return out
