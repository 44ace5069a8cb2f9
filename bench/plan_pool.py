"""How fast a pool is scanned, and in how much memory: the pass that `plan` and `build` make before anything else.

Writes a pool of `--rows` rows (url, caption; one row in a thousand repeats an earlier one) in files of 2.5 million
rows, then scans it in a process of its own, whose peak RSS is the figure. Not part of it: what the scan imports and
what an empty scan takes, shown apart as `base_rss_mb`.

    uv run python -m bench plan_pool --rows 10000000 --format parquet
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.harness import report
from schemas.recipe import PoolConfig
from stages.pool.reader import open_pool
from stages.pool.scan import scan

_FILE_ROWS = 2_500_000
_BATCH_ROWS = 100_000
_WORDS = [
    *("red", "blue", "old", "new", "small", "city", "garden", "house", "woman", "dog", "boat", "road", "light"),
    *("winter", "paper", "garage", "photo", "stock", "of"),
]


_WRITERS: dict[str, Any] = {"parquet": pq.ParquetWriter, "csv": pa_csv.CSVWriter, "jsonl": None}


def run(args: list[str]) -> None:
    """Make the pool, scan it, report rows/s and peak RSS."""
    parser = argparse.ArgumentParser(prog="bench plan_pool", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--part-rows", type=int, default=2000)
    parser.add_argument("--format", choices=list(_WRITERS), nargs="+", default=["parquet"])
    parser.add_argument("--scan-only", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.scan_only:
        print(json.dumps(_scan(options.scan_only, options.part_rows)))
        return
    lines: list[dict[str, Any]] = []
    for kind in options.format:
        with tempfile.TemporaryDirectory(prefix="plan-pool-") as folder:
            measured = []
            for rows in (1000, options.rows):
                pool = Path(folder) / str(rows)
                write_pool(pool, rows, kind)
                measured.append(_in_a_process(pool, options.part_rows))
            base, full = measured
        lines.append({"format": kind, **full, "base_rss_mb": base["peak_rss_mb"]})
    report("plan_pool", lines, {"part_rows": options.part_rows})


def write_pool(folder: Path, rows: int, kind: str) -> None:
    """Rows of about 55 bytes of URL and 70 of caption, the same on every run."""
    folder.mkdir()
    for number, start in enumerate(range(0, rows, _FILE_ROWS)):
        path = folder / f"{number:03d}.{kind}"
        batches = _batches(start, min(start + _FILE_ROWS, rows))
        if kind == "jsonl":
            with path.open("w") as out:
                out.writelines(json.dumps(row) + "\n" for batch in batches for row in batch.to_pylist())
            continue
        with _WRITERS[kind](path, _SCHEMA) as out:
            for batch in batches:
                out.write_batch(batch)


_SCHEMA = pa.schema([("url", pa.string()), ("caption", pa.string())])


def _batches(start: int, end: int) -> Iterator[pa.RecordBatch]:
    for first in range(start, end, _BATCH_ROWS):
        # every thousandth row is the one 999 before it
        numbers = [i - 999 if i % 1000 == 999 else i for i in range(first, min(first + _BATCH_ROWS, end))]
        url = [f"https://images{i % 977}.example.test/{i * 2654435761 % 2**32:08x}/photo-{i}.jpg" for i in numbers]
        caption = [f"{' '.join(_WORDS[(i * k + i // 7) % len(_WORDS)] for k in range(1, 12))} {i}" for i in numbers]
        yield pa.record_batch([pa.array(url), pa.array(caption)], schema=_SCHEMA)


def _in_a_process(pool: Path, part_rows: int) -> dict[str, float]:
    command = [sys.executable, "-c", "import sys; from bench.plan_pool import run; run(sys.argv[1:])"]
    command += ["--scan-only", str(pool), "--part-rows", str(part_rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _scan(folder: str, part_rows: int) -> dict[str, float]:
    """Scan, and what it took of this process."""
    started, used = time.perf_counter(), time.process_time()
    found = scan(open_pool(PoolConfig(paths=[folder], part_rows=part_rows), ""))
    wall = time.perf_counter() - started
    return {
        "rows": found.rows,
        "parts": len(found.parts),
        "repeats": sum(len(p.repeats) for p in found.parts),
        "wall_s": round(wall, 1),
        "cpu_s": round(time.process_time() - used, 1),
        "rows_per_s": round(found.rows / wall),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "pool_mb": round(sum(f.stat().st_size for f in Path(folder).iterdir()) / 1e6),
    }
