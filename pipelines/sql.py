"""`pairmill sql`: one question over a build's views, answered as a table, JSON or CSV.

The query comes from a person or a tool and reaches the views and nothing else (stages/views.py).
"""

import csv
import json
import sys
from typing import IO, Any, Literal

import pyarrow as pa

from pipelines.show import plain, safe
from stages.shard.document import shortest
from stages.store import Store
from stages.views import open_readonly, query

Format = Literal["table", "json", "csv"]
_MOST_ROWS = 100
_MOST_WIDTH = 60
_PIPE_WIDTH = 200


def run_sql(store: Store, sql: str, fmt: Format = "table", out: IO[str] | None = None) -> None:
    """Print the answer to `out` (default: stdout).

    `table`: for people, at most 100 rows, control characters made visible. `json`: a list of objects. `csv`: with a
    header. Raises WrongRequest for what is no question over the views, with DuckDB's first line.
    """
    target: IO[str] = sys.stdout if out is None else out
    con = open_readonly(store)
    try:
        answer = query(con, sql)
    finally:
        con.close()
    {"table": _table, "json": _json, "csv": _csv}[fmt](answer, target)


def _rows(answer: pa.Table) -> Any:
    """Rows as lists of plain values, a batch in memory at a time."""
    for batch in answer.to_batches(max_chunksize=4096):
        columns = [[plain(v) for v in shortest(column).to_pylist()] for column in batch.columns]
        yield from zip(*columns, strict=True)


def _json(answer: pa.Table, out: IO[str]) -> None:
    out.write("[")
    for i, row in enumerate(_rows(answer)):
        document = dict(zip(answer.column_names, row, strict=True))
        out.write((",\n" if i else "\n") + json.dumps(document, ensure_ascii=False))
    out.write("\n]\n" if answer.num_rows else "]\n")


def _csv(answer: pa.Table, out: IO[str]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.column_names)
    for row in _rows(answer):
        writer.writerow([_nested(value) if isinstance(value, dict | list) else value for value in row])


def _table(answer: pa.Table, out: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, kind in zip(answer.column_names, answer.schema.types, strict=True):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        table.add_column(Text(safe(name)), justify="right" if number else "left", no_wrap=True, overflow="ellipsis")
    for row in _rows(answer.slice(0, _MOST_ROWS)):
        table.add_row(*(Text("–", "dim") if value is None else Text(_cell(value)) for value in row))
    console = Console(file=out, width=None if out.isatty() else _PIPE_WIDTH)
    console.print(table)
    if answer.num_rows > _MOST_ROWS:
        more = answer.num_rows - _MOST_ROWS
        console.print(f"{more:,} rows more; --csv and --json print all", style="dim", highlight=False)


def _cell(value: Any) -> str:
    text = safe(value if isinstance(value, str) else _nested(value))
    return text if len(text) <= _MOST_WIDTH else text[: _MOST_WIDTH - 1] + "…"


def _nested(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
