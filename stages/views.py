"""A build as SQL views: pool, parts, measures, samples, groups, ledger, ledger_counts, selection, shards; and, where
there are masks or conversations, one row for each (masks, conversations), one for each conversation that was dropped
(dropped), one for each sample (segmented, synthesized), and final.

DuckDB reads the build's Parquet files through a file system of ours that knows those files only, opens them for
reading only, and works for every store. `open_views` is for our own queries. `open_readonly` is for a query that a
person or a tool sends: it lets DuckDB touch no other file, no network, no setting; `query` admits one SELECT-like
statement over the views. A build under way has the views of what exists; a family that lacks a part has nulls there.
"""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
from fsspec import AbstractFileSystem

from schemas.conversation import Conversation, Dropped
from schemas.errors import WrongData, WrongRequest
from schemas.ledger import Duplicate, Rejection, Selected, ShardEntry, StageCount
from schemas.mask import Mask
from schemas.row import Row
from stages.families import (
    EVIDENCE,
    FAMILIES,
    FINAL,
    SELECTION,
    families_in,
    family_schema,
    part_files,
    sample_schema,
)
from stages.sql import connect, names, one_line, quoted, syntax, walk
from stages.store import Store

if TYPE_CHECKING:
    import duckdb

_PROTOCOL = "pairmill-build"
_LEDGER_FILE = re.compile(r"ledger/\d{5,}\.parquet")
_GLOBALS: dict[str, tuple[str, type[Row]]] = {
    "groups": ("groups/duplicates.parquet", Duplicate),
    "selection": (SELECTION, Selected),
    "final": (FINAL, Selected),
    "ledger_counts": ("ledger/counts.parquet", StageCount),
    "shards": ("shards/index.parquet", ShardEntry),
}
_VIEWS = {"conversations": "synthesized", "masks": "segmented"}
"""Family → its view, where the family's own name is that of a view with a row for each element of a list."""
_UNNESTED: dict[str, dict[str, type[Row]]] = {
    "conversations": {"conversations": Conversation, "dropped": Dropped},
    "masks": {"masks": Mask},
}
_TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "repeat_row", "json_each", "json_tree"}
"""What a query may call in FROM: functions of their arguments alone."""
_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?\s", re.IGNORECASE)


def open_views(store: Store, families: list[str] | None = None) -> "duckdb.DuckDBPyConnection":
    """Views over a build, for our own queries.

    `families` (`pool`, `parts`, `measures/clip` …): which to include; by default those that exist. One asked for and
    absent is an empty view. Besides the views named above there is one per measure with its evidence (`measure_clip`).
    """
    con = connect()
    try:
        _add_views(con, store, families)
    except BaseException:
        con.close()
        raise
    return con


def open_readonly(store: Store) -> "duckdb.DuckDBPyConnection":
    """Views over a build, for a query that is not ours: no file, no network, no settings. Use `query` with it.

    Raises WrongRequest when there is no build.
    """
    if not part_files(store, "pool"):
        raise WrongRequest(f"{store.url} holds no build", "give the folder that `pairmill build --out` wrote")
    con = connect()
    try:
        files = _add_views(con, store, None)
        con.execute(f"SET allowed_paths = {_list(files)}")
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
    except BaseException:
        con.close()
        raise
    return con


def query(con: "duckdb.DuckDBPyConnection", sql: str) -> pa.Table:
    """The answer to one SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN over the views.

    Raises WrongRequest with DuckDB's own words for SQL that is wrong, and for anything that is more than a question;
    WrongData when a file of the build is lost or torn.
    """
    import duckdb

    _require_question(con, sql)
    try:
        return con.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        torn = type(error) is duckdb.Error or isinstance(error, duckdb.IOException)  # a page that does not decode
        if torn or _PROTOCOL in str(error) or "WrongData: " in str(error):
            what = one_line(error).replace(f"{_PROTOCOL}://", "").removeprefix("WrongData: ")
            raise WrongData(f"the build cannot be read: {what}", "run `pairmill verify` on it") from error
        raise WrongRequest(
            f"the query failed: {one_line(error)}", "`SHOW TABLES` and `DESCRIBE samples` name what there is"
        ) from error


# ---------------------------------------------------------------------------------------------------- views


class _BuildFiles(AbstractFileSystem):
    """The build's Parquet files, by their names in it; nothing can be written and nothing else is seen."""

    protocol = _PROTOCOL
    cachable = False

    def __init__(self, store: Store, sizes: dict[str, int]) -> None:
        super().__init__()
        self._store = store
        self._sizes = sizes

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = str(self._strip_protocol(path))
        if name not in self._sizes:
            raise FileNotFoundError(name)
        return {"name": name, "size": self._sizes[name], "type": "file"}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        raise FileNotFoundError(path)

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(0, UTC)  # a connection sees the build as it was when opened

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise PermissionError(f"{path}: a build is opened read-only")
        return self._store.open(str(self.info(path)["name"]))


def _add_views(con: "duckdb.DuckDBPyConnection", store: Store, families: list[str] | None) -> list[str]:
    """Create the views; returns the paths that they read."""
    chosen = families_in(store) if families is None else families
    unknown = [f for f in chosen if f not in FAMILIES]
    if unknown:
        raise WrongRequest(f"no column family is called {unknown[0]!r}", f"the families are {', '.join(FAMILIES)}")
    sizes: dict[str, int] = {}
    found: dict[str, list[str]] = {}
    pool = part_files(store, "pool")
    for family in chosen:
        files = part_files(store, family)
        found[family] = [name for part, name in files.items() if part in pool or not pool]
        sizes |= store.listing(family)
    for name, (file, _) in _GLOBALS.items():
        found[name] = [file] if file in (listed := _around(store, file)) else []
        sizes |= {k: v for k, v in listed.items() if k == file}
    ledger = {k: v for k, v in store.listing("ledger").items() if _LEDGER_FILE.fullmatch(k)}
    sizes |= ledger
    paths = {f"{_PROTOCOL}://{name}": size for name, size in sizes.items()}
    con.register_filesystem(_BuildFiles(store, sizes))
    for family in chosen:
        _family_view(con, family, found[family])
    for name, (_, row) in {**_GLOBALS, "ledger": ("", Rejection)}.items():
        files = sorted(ledger) if name == "ledger" else found[name]
        if files:
            _file_view(con, name, names(row.columns()), files)
    for family in chosen:
        _unnested(con, family)
    decided = next((name for name in ("final", "selection") if found[name]), None)
    _joined_views(con, chosen, decided)
    return list(paths)


def _around(store: Store, file: str) -> dict[str, int]:
    folder, _, _ = file.rpartition("/")
    if folder:
        return store.listing(folder)
    return {file: store.size(file)} if store.exists(file) else {}


def _family_view(con: "duckdb.DuckDBPyConnection", family: str, files: list[str]) -> None:
    view, schema = _view_of(family), family_schema(family)
    if not files:
        empty = pa.schema([pa.field("part", pa.int32()), pa.field("row", pa.int32()), *schema]).empty_table()
        con.register(view, empty)
        return
    part = r"regexp_extract(filename, '(\d+)\.parquet$', 1)::INTEGER AS part"
    columns = f"{part}, file_row_number::INTEGER AS row, {names(schema.names)}"
    _file_view(con, view, columns, files)


def _file_view(con: "duckdb.DuckDBPyConnection", view: str, columns: str, files: list[str]) -> None:
    """Raises WrongData for files that lack a column: another version of pairmill wrote them."""
    import duckdb

    try:
        con.execute(f"CREATE VIEW {view} AS SELECT {columns} FROM {_scan(files)}")
    except duckdb.BinderException as error:
        raise WrongData(
            f"{files[0]} was written by another version: {one_line(error)}",
            "run `pairmill build` on it again: it makes anew what has changed",
        ) from error


def _joined_views(con: "duckdb.DuckDBPyConnection", families: list[str], decided_by: str | None) -> None:
    """`measures` and `samples`: families side by side, in which every sample_id occurs once."""
    if not families:
        return
    base, measures = _view_of(families[0]), [f for f in families if f.startswith("measures/")]
    if measures:
        columns = [n for n in sample_schema(measures).names if n not in ("part", "row", "sample_id")]
        con.execute(
            f"CREATE VIEW measures AS SELECT base.part, base.row, sample_id, {names(columns)} FROM {base} AS base "
            + " ".join(f"LEFT JOIN {_measured(f)} USING (sample_id)" for f in measures)
        )
    seen, sources = {"part", "row", "sample_id"}, []
    columns = ["base.part", "base.row", "sample_id"]
    for i, family in enumerate(families):
        fresh = [n for n in FAMILIES[family].columns() if n not in seen]
        seen.update(fresh)
        alias = "base" if i == 0 else f"f{i}"
        columns += [f'{alias}."{n}"' for n in fresh]
        sources.append(f"{_view_of(family)} AS {alias}" + ("" if i == 0 else " USING (sample_id)"))
    if decided_by is not None:
        decided = ["kept", "stage", *EVIDENCE.names]
        columns += [f'decided."{n}"' for n in decided]
        sources.append(f"{decided_by} AS decided USING (sample_id)")
    con.execute(f"CREATE VIEW samples AS SELECT {', '.join(columns)} FROM {' LEFT JOIN '.join(sources)}")


def _unnested(con: "duckdb.DuckDBPyConnection", family: str) -> None:
    """A view with a row for each element of a family's lists, and with its place in the sample's list."""
    for view, row in _UNNESTED.get(family, {}).items():
        columns = ", ".join(f'one."{name}"' for name in row.columns())
        con.execute(
            f"CREATE VIEW {view} AS SELECT part, row, sample_id, place::INTEGER AS place, {columns} "
            f"FROM (SELECT part, row, sample_id, unnest({view}) AS one, generate_subscripts({view}, 1) - 1 AS place "
            f"FROM {_view_of(family)})"
        )


def _measured(family: str) -> str:
    columns = [n for n in FAMILIES[family].columns() if n != "sample_id"]
    return f"(SELECT sample_id, {names(columns)} FROM {_view_of(family)})"


def _view_of(family: str) -> str:
    return _VIEWS.get(family, family.replace("measures/", "measure_"))


def _scan(files: list[str]) -> str:
    paths = _list([f"{_PROTOCOL}://{name}" for name in files])
    return f"read_parquet({paths}, hive_partitioning = false, filename = true, file_row_number = true)"


def _list(texts: list[str]) -> str:
    return "[" + ", ".join(map(quoted, texts)) + "]"


# ---------------------------------------------------------------------------------------------------- questions


def _require_question(con: "duckdb.DuckDBPyConnection", sql: str) -> None:
    """Raises WrongRequest unless `sql` is one statement that only asks."""
    import duckdb

    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as error:
        raise WrongRequest(f"the query is not SQL: {one_line(error)}", "send one SELECT") from error
    if len(statements) != 1:
        raise WrongRequest(f"the query holds {len(statements)} statements", "send one SELECT")
    tree = syntax(con, _EXPLAIN.sub("", sql, count=1))
    if tree is None:
        raise WrongRequest(
            "the query is not a question", "send one SELECT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN of a SELECT"
        )
    for node in walk(tree):
        kind = str(node.get("type", ""))
        if kind.endswith("_QUERY_NODE"):
            raise WrongRequest("the query changes something", "send one SELECT; the build is read-only")
        name = str((node.get("function") or {}).get("function_name", "")) if kind == "TABLE_FUNCTION" else ""
        if name and name.lower() not in _TABLE_FUNCTIONS:
            raise WrongRequest(f"the query calls {name}() in FROM", "query the views; `SHOW TABLES` names them")
