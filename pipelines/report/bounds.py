"""What a rule's test compares a number with, and on which side of it a row falls."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.select.conditions import Test
from stages.sql import syntax, walk

if TYPE_CHECKING:
    import duckdb

_FALLS = {
    "COMPARE_LESSTHAN": ">=",
    "COMPARE_LESSTHANOREQUALTO": ">",
    "COMPARE_GREATERTHAN": "<=",
    "COMPARE_GREATERTHANOREQUALTO": "<",
    "COMPARE_EQUAL": "!=",
    "COMPARE_NOTEQUAL": "=",
}
"""A comparison that a row must satisfy → what fells it, the number standing on the left."""
_MIRRORED = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "!=": "!=", "=": "="}
_STAYS = {"<": "≥", "<=": ">", ">": "≤", ">=": "<", "=": "≠", "!=": "="}


@dataclass(frozen=True, slots=True)
class Bound:
    """A threshold: rows with `number falls value` fall."""

    value: float
    falls: str
    """<, <=, >, >=, = or !="""

    @property
    def stays(self) -> str:
        """The sign of what a row needs: `≥`."""
        return _STAYS[self.falls]


def bounds_of(con: "duckdb.DuckDBPyConnection", test: Test) -> tuple[Bound, ...]:
    """The thresholds of a test that compares a number with constants, in order of size."""
    tree = syntax(con, f"SELECT {test.sql}")
    assert tree is not None and test.value is not None
    node = tree["statements"][0]["node"]["select_list"][0]
    if node["class"] == "BETWEEN":
        found = [(_constant(con, node["lower"]), "<"), (_constant(con, node["upper"]), ">")]
    else:
        falls, right = _FALLS[node["type"]], _is_constant(node["right"])
        found = [(_constant(con, node["right" if right else "left"]), falls if right else _MIRRORED[falls])]
    return tuple(sorted((Bound(value, falls) for value, falls in found if value is not None), key=lambda b: b.value))


def _is_constant(node: Any) -> bool:
    return all(inner.get("class") != "COLUMN_REF" for inner in walk(node))


def _constant(con: "duckdb.DuckDBPyConnection", node: dict[str, Any]) -> float | None:
    """Its number; None for a null."""
    tree = syntax(con, "SELECT 1")
    assert tree is not None
    tree["statements"][0]["node"]["select_list"] = [node]
    ((text,),) = con.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
    ((value,),) = con.execute(f"SELECT ({str(text).removeprefix('SELECT ')})::DOUBLE").fetchall()
    return None if value is None else float(value)
