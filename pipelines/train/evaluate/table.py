"""Rows as a table for people, and as JSON for machines."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from schemas.evaluate import TableRow

_PLAIN = frozenset({"cider"})
"""Not a share."""


def table(title: str, rows: Sequence[TableRow]) -> Table:
    """Shares in percent, CIDEr as it is; what is not defined is a dash."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    names = _names(rows)
    made.add_column("")
    for name in ("questions", "unanswered", *names):
        made.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        cells = [_cell(name, row.values.get(name)) for name in names]
        made.add_row(Text(row.name), f"{row.count:,}", f"{row.unanswered:,}" if row.unanswered else "", *cells)
    return made


def document(tables: dict[str, Sequence[TableRow]]) -> dict[str, Any]:
    """{benchmark: [{name, count, unanswered, values}]}; numbers whole, null where not defined."""
    return {name: [row.model_dump() for row in rows] for name, rows in tables.items()}


def _names(rows: Sequence[TableRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if name in _PLAIN else f"{value:.1%}"
