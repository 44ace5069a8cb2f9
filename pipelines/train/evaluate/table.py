"""Rows as a table for people, and as JSON for machines."""

from collections.abc import Sequence
from math import exp
from typing import Any

from rich.table import Table
from rich.text import Text

from schemas.evaluate import LossRow, TableRow

_PLAIN = frozenset({"cider"})
"""Not a share."""
_LARGE = 20.0
"""Nats: beyond, a perplexity says nothing."""


def table(title: str, rows: Sequence[TableRow]) -> Table:
    """Shares in percent, CIDEr as it is; what is not defined is a dash."""
    made = _empty(title)
    names = _names(rows)
    for name in ("questions", "unanswered", *names):
        made.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        cells = [_cell(name, row.values.get(name)) for name in names]
        made.add_row(Text(row.name), f"{row.count:,}", f"{row.unanswered:,}" if row.unanswered else "", *cells)
    return made


def loss_table(title: str, rows: Sequence[LossRow]) -> Table:
    """Loss in nats a label token, and its exponential."""
    made = _empty(title)
    for name in ("conversations", "label tokens", "loss", "perplexity"):
        made.add_column(name, justify="right")
    for row in rows:
        name = row.name if row.by != "source" else f"source {row.name}"
        perplexity = f"{exp(row.loss):,.2f}" if row.loss < _LARGE else "–"
        made.add_row(Text(name), f"{row.conversations:,}", f"{row.label_tokens:,}", f"{row.loss:.4f}", perplexity)
    return made


def document(tables: dict[str, Sequence[TableRow]]) -> dict[str, Any]:
    """{benchmark: [{name, count, unanswered, values}]}; numbers whole, null where not defined."""
    return {name: [row.model_dump() for row in rows] for name, rows in tables.items()}


def _empty(title: str) -> Table:
    """With a column for the rows' names."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    made.add_column("")
    return made


def _names(rows: Sequence[TableRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if name in _PLAIN else f"{value:.1%}"
