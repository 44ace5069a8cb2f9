"""DuckDB, opened the same way everywhere, and its syntax trees."""

import json
import os
import secrets
import tempfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb


def connect(memory: str = "4GB", threads: int | None = None) -> "duckdb.DuckDBPyConnection":
    """An empty in-memory DuckDB that spills to a folder of its own. Close it: an open one leaks into exit messages."""
    import duckdb

    con = duckdb.connect(":memory:")
    con.execute(f"SET memory_limit = '{memory}'")
    spill = tempfile.gettempdir() + f"/pairmill-duckdb-{os.getpid()}-{secrets.token_hex(6)}"
    con.execute(f"SET temp_directory = {quoted(spill)}")
    if threads:
        con.execute(f"SET threads = {threads}")
    for setting in ("python_enable_replacements", "autoload_known_extensions", "autoinstall_known_extensions"):
        con.execute(f"SET {setting} = false")  # a typo in a name never finds a Python variable or the network
    return con


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def names(columns: list[str]) -> str:
    """Columns as SQL identifiers, comma-separated."""
    return ", ".join('"' + c.replace('"', '""') + '"' for c in columns)


def syntax(con: "duckdb.DuckDBPyConnection", sql: str) -> dict[str, Any] | None:
    """DuckDB's own syntax tree of one SELECT-like statement; None when it is anything else or not SQL."""
    ((text,),) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(text)
    return None if tree["error"] or len(tree["statements"]) != 1 else tree


def walk(tree: Any) -> "list[dict[str, Any]]":
    """Every node of a syntax tree, parents first."""
    found: list[dict[str, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.append(node)
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
    return found


def one_line(error: Exception) -> str:
    """DuckDB's message without the excerpt of the query; the last line of a traceback that it passes on."""
    text = str(error).split("\n\nLINE", 1)[0].strip()
    return text.splitlines()[-1].strip() if "Traceback (most recent call last)" in text else " ".join(text.split())


def widened(kind: pa.DataType) -> pa.DataType:
    """An Arrow type as DuckDB takes it from memory: it knows no float16 there (in Parquet it does)."""
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.list_(widened(kind.value_type)) if isinstance(kind, pa.ListType) else kind
