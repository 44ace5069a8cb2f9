"""The external sort."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from stages.shard.shuffle import KEY, in_order, with_key


def _tables(count: int, rows: int = 100) -> Iterator[pa.Table]:
    for start in range(0, count, rows):
        numbers = range(start, min(start + rows, count))
        table = {
            "sample_id": [f"{i:032x}" for i in numbers],
            "split": ["val" if i % 5 == 0 else "train" for i in numbers],
        }
        yield with_key(pa.table({**table, "n": list(numbers), "pad": ["x" * 200] * len(numbers)}), seed=3)


def _expected(count: int) -> list[int]:
    def key(i: int) -> tuple[bool, bytes]:
        return (i % 5 == 0, hashlib.sha256(f"3:{i:032x}".encode()).digest())

    return sorted(range(count), key=key)


@pytest.mark.parametrize("limit", [1 << 30, 50_000, 3_000, 0])
def test_rows_come_out_by_split_and_hash_however_little_fits_in_memory(tmp_path: Path, limit: int) -> None:
    count = 600 if limit else 20
    out = pa.concat_tables(in_order(_tables(count), str(tmp_path), limit))
    assert out["n"].to_pylist() == _expected(count)
    assert out.column_names == ["sample_id", "split", "n", "pad", KEY]
    assert list(tmp_path.iterdir()) == []


def test_order_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    tables = list(_tables(2000))
    random.Random(1).shuffle(tables)
    out = pa.concat_tables(in_order(tables, str(tmp_path), 50_000))
    assert out["n"].to_pylist() == _expected(2000)


def test_only_a_piece_is_in_memory_at_once(tmp_path: Path) -> None:
    sizes = [table.nbytes for table in in_order(_tables(5000), str(tmp_path), 20_000)]
    assert max(sizes) <= 20_000 + next(_tables(100)).nbytes


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert list(in_order([], str(tmp_path))) == []
    empty = next(_tables(1)).slice(0, 0)
    assert sum(t.num_rows for t in in_order([empty, empty], str(tmp_path), 0)) == 0


def test_files_are_removed_when_the_reader_stops_half_way(tmp_path: Path) -> None:
    rows = in_order(_tables(3000), str(tmp_path), 10_000)
    next(rows)
    assert list(tmp_path.iterdir())
    rows.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
