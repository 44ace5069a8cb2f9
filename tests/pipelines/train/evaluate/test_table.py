"""Tables for people and machines."""

import io
import json

from rich.console import Console

from pipelines.train.evaluate.table import document, table
from schemas.evaluate import TableRow

ROWS = [
    TableRow(name="all", count=1200, unanswered=3, values={"accuracy": 0.5, "f1": None}),
    TableRow(name="[red]x", count=1, unanswered=0, values={"accuracy": 1.0, "cider": 1.25}),
]


def test_people_see_percent_dashes_and_names_as_they_are() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(table("POPE", ROWS))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[0] == ["POPE"] and lines[1] == ["questions", "unanswered", "accuracy", "f1", "cider"]
    assert lines[2:] == [["all", "1,200", "3", "50.0%", "–", "–"], ["[red]x", "1", "100.0%", "–", "1.250"]]


def test_machines_get_numbers() -> None:
    made = json.loads(json.dumps(document({"pope": ROWS})))
    assert made["pope"][0] == {"name": "all", "count": 1200, "unanswered": 3, "values": {"accuracy": 0.5, "f1": None}}
