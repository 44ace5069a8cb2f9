"""What every benchmark shares: a table on the screen, and the same with its circumstances in bench/results/."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
VERSIONED = (
    "ray", "pyarrow", "duckdb", "pycurl", "torch", "open-clip-torch", "opencv-python-headless", "simplejpeg", "pillow",
    "pdqhash", "faiss-cpu", "img2dataset", "webdataset", "transformers", "peft",
)  # fmt: skip


def report(name: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any] | None = None) -> Path:
    """Print the rows as a table, write NAME.md and NAME.json; returns the folder.

    Rows share their keys (a missing one prints empty). `facts` are single figures, listed under the table.
    """
    RESULTS.mkdir(exist_ok=True)
    lines = [*table(rows), "", *(f"- {key}: {_cell(value)}" for key, value in (facts or {}).items())]
    print("\n".join(lines))
    told = circumstances()
    where = ", ".join(f"{key} {value}" for key, value in told["versions"].items())
    head = [f"# {name}", "", f"{told['date']} · {told['machine']} · Python {told['python']}", "", where, ""]
    (RESULTS / f"{name}.md").write_text("\n".join([*head, *lines, ""]), encoding="utf-8")
    record = {"name": name, **told, "rows": [dict(row) for row in rows], "facts": dict(facts or {})}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return RESULTS


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines, columns padded so that they read as text, too."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    ruled = [cells[0], ["-" * width for width in widths], *cells[1:]]
    return ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in ruled]


def circumstances() -> dict[str, Any]:
    """Machine, versions and date; no host name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {cores} cores, {memory:.0f} GiB, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: found for name in VERSIONED if (found := _version(name))},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
