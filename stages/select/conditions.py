"""Rules as SQL: one condition each, over known columns, the same on every run. DuckDB's own parser and binder judge.

A condition may call any function whose answer its arguments alone decide. It is not a statement: no subquery, no
aggregate, no window, nothing after it.
"""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.errors import WrongRequest
from stages.sql import connect, one_line, syntax, walk, widened

if TYPE_CHECKING:
    import duckdb

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_SIGNS = ("", "U")
_COMPARISONS = {
    "COMPARE_EQUAL",
    "COMPARE_NOTEQUAL",
    "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO",
}
_REFUSED = {"SUBQUERY": "a subquery", "WINDOW": "a window", "PARAMETER": "a parameter", "STAR": "a star"}
_VARYING = {"age", "version", "current_localtime", "current_localtimestamp"}
"""Functions that DuckDB calls consistent and that still depend on more than their arguments."""
_MACROS = ("list_", "array_", "map_contains", "nullif", "if", "split_part", "fdiv", "fmod", "days_in_month", "date_add")
_UNLOCATED = ("query_location", "query_location_length")


@dataclass(frozen=True, slots=True)
class Test:
    """One of a condition's AND-ed tests, in SQL, with the numbers it compares when it compares numbers."""

    sql: str
    value: str | None = None
    threshold: str | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked piece of SQL over the columns."""

    sql: str
    columns: list[str]
    """Columns that it reads, in order of first use."""
    tests: tuple[Test, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One term of `best`."""

    expression: Expression
    descending: bool
    nulls_first: bool


class Binder:
    """Checks SQL against a table with the samples' columns. Close it."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = {name.lower(): name for name in columns}
        self._con = connect(threads=1)
        fields = [pa.field(name, widened(kind)) for name, kind in columns.items()]
        nulls = pa.Table.from_pylist([{}], schema=pa.schema(fields))
        self._con.register("samples", nulls)  # one row: constants that do not convert are found
        self._impure: dict[str, bool] = {}

    def __enter__(self) -> "Binder":
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()

    def condition(self, what: str, text: str) -> Expression:
        """A boolean condition. `what` is the rule's name in errors. Raises WrongRequest."""
        node = self._alone(what, text)
        columns = self._checked(what, text, node)
        sql = self._text(node)
        kind = self._bound(what, text, sql, f"SELECT ({sql}) FROM samples WHERE ({sql})")
        if kind != "BOOLEAN":
            raise WrongRequest(
                f"{what}: {text!r} is {kind}, not a condition", "write a comparison, e.g. `clip_score >= 0.28`"
            )
        return Expression(sql, columns, tuple(self._tests(node)))

    def number(self, what: str, column: str) -> Expression:
        """A numeric column, for top and quantile. Raises WrongRequest."""
        found = self.column(what, column)
        kind = self._bound(what, column, found.sql, f"SELECT {found.sql} FROM samples")
        if not _is_number(kind):
            raise WrongRequest(f"{what}: column {column!r} is {kind}, not a number", "rank by a numeric column")
        return found

    def column(self, what: str, column: str) -> Expression:
        """A column by its name alone. Raises WrongRequest."""
        self._known(what, column)
        name = self._columns[column.lower()]
        return Expression('"' + name.replace('"', '""') + '"', [name])

    def order(self, what: str, text: str) -> OrderTerm:
        """One ORDER BY term. Raises WrongRequest."""
        tree = syntax(self._con, f"SELECT 1 FROM samples ORDER BY\n{text}\n")
        modifiers: list[Any] = tree["statements"][0]["node"]["modifiers"] if tree else []
        orders = modifiers[0].get("orders", []) if len(modifiers) == 1 else []
        if len(orders) != 1:
            raise WrongRequest(f"{what}: {text!r} is not one SQL order term", "write e.g. `clip_score desc`")
        node = orders[0]["expression"]
        columns = self._checked(what, text, node)
        if not columns:
            raise WrongRequest(f"{what}: {text!r} orders by no column", "write e.g. `clip_score desc`")
        sql = self._text(node)
        self._bound(what, text, sql, f"SELECT ({sql}) FROM samples ORDER BY ({sql})")
        first = orders[0]["null_order"] in ("ORDER_NULLS_FIRST", "NULLS FIRST")
        return OrderTerm(Expression(sql, columns), orders[0]["type"] == "DESCENDING", first)

    # ------------------------------------------------------------------ inside

    def _alone(self, what: str, text: str) -> dict[str, Any]:
        """The syntax tree of a condition that is all there is, with and without parentheses around it."""
        node: dict[str, Any] | None = None
        for sql in (f"SELECT\n{text}\n", f"SELECT (\n{text}\n)"):
            tree = syntax(self._con, sql)
            chosen: list[Any] = tree["statements"][0]["node"].get("select_list", []) if tree else []
            if len(chosen) != 1 or (node is not None and _plain(chosen[0]) != _plain(node)):
                raise WrongRequest(f"{what}: {text!r} is not one SQL condition", "write what a kept row satisfies")
            node = chosen[0]
        assert node is not None
        return node

    def _checked(self, what: str, text: str, node: dict[str, Any]) -> list[str]:
        """Columns of an expression in which nothing is refused."""
        used: list[str] = []
        bound_here: set[str] = set()
        for part in walk(node):
            kind = str(part.get("class", ""))
            if kind in _REFUSED:
                raise WrongRequest(f"{what}: {text!r} holds {_REFUSED[kind]}", "a rule looks at one row at a time")
            if kind == "FUNCTION":
                self._require_function(what, str(part["function_name"]))
            if kind == "LAMBDA":
                bound_here |= {_name(n) for n in walk(part["lhs"]) if n.get("class") == "COLUMN_REF"}
            if kind == "COLUMN_REF":
                name = _name(part)
                if name.lower() not in bound_here:
                    self._known(what, name)
                if name.lower() in self._columns:
                    used.append(self._columns[name.lower()])
        return list(dict.fromkeys(used))

    def _known(self, what: str, name: str) -> None:
        if name.lower() in self._columns:
            return
        near = difflib.get_close_matches(name.lower(), self._columns, 1, 0.6)
        remedy = (
            f"did you mean {self._columns[near[0]]!r}?" if near else f"there are: {', '.join(self._columns.values())}"
        )
        raise WrongRequest(f"{what}: there is no column {name!r}", remedy)

    def _require_function(self, what: str, name: str) -> None:
        if not self._impure:
            self._impure = _impure_functions(self._con)
        if self._impure.get(name.lower(), False):
            raise WrongRequest(
                f"{what}: {name}() is not decided by the row alone", "use measured columns and pure functions"
            )

    def _bound(self, what: str, text: str, sql: str, query: str) -> str:
        """Type of an expression; runs the query on a row of nulls."""
        import duckdb

        try:
            self._con.execute(query).fetchall()
            ((_, kind, *_rest),) = self._con.execute(f"DESCRIBE SELECT ({sql}) FROM samples").fetchall()
        except duckdb.Error as error:
            raise WrongRequest(
                f"{what}: {text!r} does not fit the columns: {one_line(error)}", "correct the rule"
            ) from error
        return str(kind)

    def _tests(self, node: dict[str, Any]) -> Iterable[Test]:
        if node.get("type") == "CONJUNCTION_AND":
            for child in node["children"]:
                yield from self._tests(child)
            return
        sql = self._text(node)
        value, low, high = _compared(node)
        if value is None or not all(self._numeric(n) for n in (value, low, high) if n):
            yield Test(sql)
        elif high is None:
            yield Test(sql, self._text(value), self._text(low))
        else:
            mine, least, most = self._text(value), self._text(low), self._text(high)
            yield Test(sql, mine, f"CASE WHEN {mine} < {least} THEN {least} ELSE {most} END")

    def _numeric(self, node: Any) -> bool:
        ((_, kind, *_rest),) = self._con.execute(f"DESCRIBE SELECT {self._text(node)} FROM samples").fetchall()
        return _is_number(str(kind))

    def _text(self, node: Any) -> str:
        """SQL of a node of a syntax tree, as DuckDB writes it."""
        tree = syntax(self._con, "SELECT 1 FROM samples")
        assert tree is not None
        tree["statements"][0]["node"]["select_list"] = [node]
        ((text,),) = self._con.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
        return str(text).removeprefix("SELECT ").removesuffix(" FROM samples")


def _impure_functions(con: "duckdb.DuckDBPyConnection") -> dict[str, bool]:
    """Scalar function or macro → whether its answer depends on more than its arguments."""
    rows = con.execute(
        "SELECT function_name, bool_and(stability = 'CONSISTENT') IS TRUE, bool_or(function_type = 'macro') "
        "FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro') GROUP BY function_name"
    ).fetchall()
    pure = {name for name, consistent, macro in rows if consistent or (macro and name.startswith(_MACROS))}
    return {name: name not in pure or name in _VARYING for name, _, _ in rows}


def _compared(node: dict[str, Any]) -> tuple[Any, Any, Any]:
    """(what is compared, bound, upper bound of BETWEEN) of a comparison with constants; Nones otherwise."""
    if node.get("class") == "BETWEEN" and _constant(node["lower"]) and _constant(node["upper"]):
        return node["input"], node["lower"], node["upper"]
    if node.get("type") in _COMPARISONS:
        left, right = node["left"], node["right"]
        if _constant(right) and not _constant(left):
            return left, right, None
        if _constant(left) and not _constant(right):
            return right, left, None
    return None, None, None


def _constant(node: Any) -> bool:
    return all(n.get("class") != "COLUMN_REF" for n in walk(node))


def _name(node: dict[str, Any]) -> str:
    """Column of a COLUMN_REF, without the table and without the fields of a struct."""
    names: list[str] = node["column_names"]
    return names[1] if names[0].lower() == "samples" and len(names) > 1 else names[0]


def _plain(node: Any) -> Any:
    """A tree without the places in the text."""
    if isinstance(node, dict):
        return {k: _plain(v) for k, v in node.items() if k not in _UNLOCATED}
    return [_plain(v) for v in node] if isinstance(node, list) else node


def _is_number(kind: str) -> bool:
    return kind.partition("(")[0] in {sign + name for sign in _SIGNS for name in _NUMBERS}
