"""Select: one decision for every row of the pool, from the families that the measures wrote.

In order: the first rejection by an earlier stage; the first rule that fails; being a member of a duplicate group that
does not survive. A null condition is a failed one, and a NaN measurement is null. Ranks (top, quantile) are taken among
the rows that passed everything before them. In a group the best of the members that passed every rule survives: `best`
terms in order, nulls last unless the term says otherwise, then the smaller sample_id.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from schemas.errors import WrongData, WrongRequest
from schemas.ledger import Selected
from schemas.recipe import DedupConfig, Recipe
from stages.batches import write_batches
from stages.families import SELECTION, families_of, sample_schema
from stages.select.check import DUPLICATE, KeepRule, RankRule, Rules, check
from stages.select.conditions import Test
from stages.select.rows import chunks
from stages.select.statements import fill_statement, rank_statements, table_statement
from stages.sql import connect, one_line, quoted
from stages.store import Seal, Store

if TYPE_CHECKING:
    import duckdb

DUPLICATES = "groups/duplicates.parquet"
_BATCH = 262_144


class Origin(Protocol):
    """What decides the file's bytes (pipelines.lineage)."""

    @property
    def identity(self) -> dict[str, Any]: ...
    @property
    def inputs(self) -> dict[str, str]: ...
    @property
    def fingerprint(self) -> str: ...


def decide(store: Store, recipe: Recipe, parts: int, origin: Origin) -> int:
    """Write selection.parquet (schema `Selected`, all pool rows in (part, row) order); returns the rows kept.

    Rows stream through DuckDB, which spills what is over its memory limit (4 GB). Raises WrongRequest when a rule fails
    on the data, WrongData when a file is missing or torn.
    """

    def seal(content: str, rows: int) -> Seal:
        more = {"identity": origin.identity, "inputs": origin.inputs}
        return Seal(origin.fingerprint, content, str(origin.identity["stage"]), rows, more)

    with Decisions(store, recipe, parts) as decisions:
        write_batches(store, SELECTION, Selected.arrow_schema(), decisions.batches(), seal)
        return decisions.kept()


class Decisions:
    """The decisions of a recipe on a build, as DuckDB table `decisions` in `con`. Nothing is written. Close it.

    `watch`: reason of a keep rule whose first compared number is kept for every row (columns watched*).
    """

    def __init__(self, store: Store, recipe: Recipe, parts: int, watch: str | None = None) -> None:
        families = families_of(recipe)
        self.rules = check(recipe.select, {f.name: f.type for f in sample_schema(families)})
        self.watched = _watched(self.rules, watch)
        self.con = connect()
        try:
            self.rows = _fill(self.con, self, chunks(store, families, self.rules.columns, parts))
            for index, rule in enumerate(self.rules.rules if self.rows else ()):
                if isinstance(rule, RankRule):
                    _run(self.con, rule.rule.reason, rank_statements(index, rule))
            if recipe.dedup is not None and self.rows:
                _drop_duplicates(self.con, store, recipe.dedup, self.rules)
        except BaseException:
            self.con.close()
            raise

    def __enter__(self) -> "Decisions":
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def kept(self) -> int:
        """Rows kept."""
        if not self.rows:
            return 0
        return int(self.con.execute("SELECT count(*) FROM decisions WHERE stage IS NULL").fetchall()[0][0])

    def batches(self) -> Iterator[pa.Table]:
        """The decisions in order, schema `Selected`."""
        for start in range(0, self.rows, _BATCH):
            found: Any = self.con.sql(
                "SELECT sample_id, part, row, stage IS NULL AS kept, stage, reason, value, threshold, detail "
                f"FROM decisions WHERE pos >= {start} AND pos < {start + _BATCH} ORDER BY pos"
            )
            yield found.to_arrow_table().cast(Selected.arrow_schema())


def _watched(rules: Rules, reason: str | None) -> Test | None:
    """The first test of a keep rule that compares a number."""
    for rule in rules.rules:
        if isinstance(rule, KeepRule) and rule.rule.reason == reason:
            return next((test for test in rule.condition.tests if test.value), None)
    return None


def _fill(con: "duckdb.DuckDBPyConnection", of: Decisions, tables: Iterator[pa.Table]) -> int:
    """Make table `decisions`: one line a row, with what an earlier stage or a keep rule decided. Returns the rows."""
    rows = 0
    for table in tables:
        position = pa.array(np.arange(rows, rows + table.num_rows))
        if not table.num_rows:
            continue
        con.register("samples", table.append_column("up_pos", position))
        if not rows:
            con.execute(table_statement(of.rules, of.watched))
        _run(con, None, [fill_statement(of.rules, of.watched)])
        rows += table.num_rows
    return rows


def _run(con: "duckdb.DuckDBPyConnection", reason: str | None, statements: list[str]) -> None:
    import duckdb

    for statement in statements:
        try:
            con.execute(statement).fetchall()
        except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
            where = f"rule {reason!r}" if reason else "a rule or an order term"
            raise WrongRequest(f"{where} fails on the data: {one_line(error)}", "use try_cast or a guard") from error


def _drop_duplicates(con: "duckdb.DuckDBPyConnection", store: Store, config: DedupConfig, rules: Rules) -> None:
    """Reject the members of each group but the best of those that passed every rule."""
    if not store.exists(DUPLICATES):
        raise WrongData(f"{DUPLICATES} is missing from {store.url}", "run the build until dedup")
    con.register("duplicates", store.read_table(DUPLICATES, ["sample_id", "group", "kind", "distance"]))
    thresholds = {"exact": 0.0, "near": float(config.near.radius) if config.near else None}
    thresholds["semantic"] = 1.0 - config.semantic.threshold if config.semantic else None
    limit = " ".join(f"WHEN {quoted(kind)} THEN {value!r}" for kind, value in thresholds.items() if value is not None)
    order = [
        f"b{i} {'DESC' if t.descending else 'ASC'} NULLS {'FIRST' if t.nulls_first else 'LAST'}"
        for i, t in enumerate(rules.best)
    ]
    window = f'PARTITION BY "group" ORDER BY {", ".join([*order, "sample_id"])}'
    con.execute(
        f"""CREATE TEMP TABLE losers AS SELECT * FROM (
            SELECT pos, kind, distance, first_value(sample_id) OVER w AS survivor, row_number() OVER w AS place
            FROM decisions JOIN duplicates USING (sample_id) WHERE stage IS NULL WINDOW w AS ({window})
        ) WHERE place > 1"""
    ).fetchall()
    con.execute(
        f"""UPDATE decisions SET stage = 'select', reason = '{DUPLICATE}', value = distance,
            threshold = CASE kind {limit} END, detail = survivor || ' (' || kind || ')'
        FROM losers WHERE losers.pos = decisions.pos"""
    ).fetchall()
