"""Pools on disk whose rows say where they stand: url u<i>, caption c<i>, n i."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from schemas.recipe import PoolConfig
from stages.pool.reader import Pool, open_pool
from stages.pool.scan import scan

Rows = list[dict[str, Any]]


def numbered(count: int, start: int = 0) -> Rows:
    return [{"url": f"http://a.test/{i}", "caption": f"caption {i}", "n": i} for i in range(start, start + count)]


def encode(rows: Rows, kind: str) -> bytes:
    """`rows` as the bytes of a file of a format."""
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter={"csv": ",", "tsv": "\t"}[kind])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def compress(data: bytes, suffix: str) -> bytes:
    return {"": lambda d: d, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](data)


def put(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def opened(folder: Path, *paths: str, **config: Any) -> Pool:
    return open_pool(PoolConfig.model_validate({"paths": list(paths), **config}), str(folder))


def rows_of(pool: Pool) -> Rows:
    """Every row as the build gets it, repeats told apart."""
    found = scan(pool)
    return [row for table in pool.parts([p.repeats for p in found.parts]) for row in table.to_pylist()]


def only(rows: Rows, *columns: str) -> list[Any]:
    return [tuple(row[c] for c in columns) if len(columns) > 1 else row[columns[0]] for row in rows]
