"""Every row's way through select's rules, from what was measured and what select wrote. Nothing is decided anew.

As with `whatif`, rows stream through DuckDB, which spills what is over its memory limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.report.bounds import Bound, bounds_of
from pipelines.report.pictures import Place
from schemas.errors import WrongData
from schemas.recipe import Recipe
from stages.families import SELECTION, families_of, part_files, sample_schema
from stages.select.check import DUPLICATE, KeepRule, RankRule, check
from stages.select.conditions import Test
from stages.select.rows import chunks
from stages.sql import connect, quoted
from stages.store import Store

if TYPE_CHECKING:
    pass

_DECIDED = ["sample_id", "stage", "reason", "threshold"]
_BATCH = 65_536


@dataclass(frozen=True, slots=True)
class Numbered:
    """A number that a rule compares: columns v<at> (the number) and f<at> (the row falls here) of table `judged`."""

    at: int
    rule: int
    """Index of the rule."""
    value: str
    """SQL over the samples' columns."""
    columns: tuple[str, ...]
    bounds: tuple[Bound, ...]
    """None for a rank within groups: every group has its own."""

    @property
    def reached(self) -> str:
        """Condition of the rows that the comparison judged."""
        return f"f{self.at} IS NOT NULL"


class Judged:
    """Table `judged` in `con`: part, row, sample_id, fail (index of the rule that failed; −1: an earlier stage, the
    number of rules: none), threshold, and v<i>, f<i> for each of `numbers`. Close it.

    The build must be measured and selected. Raises WrongData where its files do not fit together.
    """

    def __init__(self, store: Store, recipe: Recipe) -> None:
        families = families_of(recipe)
        self.rules = check(recipe.select, {f.name: f.type for f in sample_schema(families)}).rules
        self.con = connect()
        self.numbers: list[Numbered] = []
        try:
            self._fill(store, families)
            self._number()
        except BaseException:
            self.con.close()
            raise

    def __enter__(self) -> "Judged":
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def counts(self, rule: int) -> tuple[int, int]:
        """Rows that reached a rule, and those that fall by it."""
        query = f"SELECT count(*) FILTER (fail >= {rule}), count(*) FILTER (fail = {rule}) FROM judged"
        (found,) = self.con.execute(query).fetchall()
        return found

    def nearest(self, of: Numbered, falls: bool, limit: int) -> list[tuple[Place, float]]:
        """The rows next to a threshold, on one side of it, in order of their number: place, number."""
        v, least = f"v{of.at}", " , ".join(f"abs(v{of.at} - {bound.value!r})" for bound in of.bounds)
        distance = f"least({least})" if of.bounds else f"abs({v} - threshold)"
        found = self.con.execute(
            f"""SELECT part, "row", sample_id, v FROM (
                    SELECT part, "row", sample_id, {v} AS v FROM judged
                    WHERE {"" if falls else "NOT "}f{of.at} AND isfinite({v}) AND {distance} IS NOT NULL
                    ORDER BY {distance}, sample_id LIMIT {limit})
                ORDER BY v, sample_id"""
        ).fetchall()
        return [(Place(part, row, sample_id), value) for part, row, sample_id, value in found]

    def _fill(self, store: Store, families: list[str]) -> None:
        columns, parts = self._columns(), len(part_files(store, "pool"))
        decided, first = _Decided(store), True
        used = [c for rule in self.rules for c in _used(rule)]
        for table in chunks(store, families, list(dict.fromkeys(used)), parts):
            if not table.num_rows:
                continue
            now = decided.take(table["sample_id"])
            drop = [name for name in table.column_names if name.startswith("up_")]
            samples = table.drop_columns(drop)
            for name in ("stage", "reason", "threshold"):
                samples = samples.append_column(f"up_{name}", now[name])
            self.con.register("samples", samples)
            query = f"SELECT {columns} FROM (SELECT *, {self._fail()} AS fail FROM samples) AS samples"
            self.con.execute(f"{'CREATE TABLE judged AS' if first else 'INSERT INTO judged'} {query}").fetchall()
            first = False
        decided.close()
        if first:
            raise WrongData(f"{SELECTION} is about no row", "run the build to its end")

    def _fail(self) -> str:
        cases = [f"WHEN up_stage = 'select' AND up_reason = {quoted(DUPLICATE)} THEN {len(self.rules)}"]
        cases += [
            f"WHEN up_stage = 'select' AND up_reason = {quoted(rule.rule.reason)} THEN {i}"
            for i, rule in enumerate(self.rules)
        ]
        gone = "WHEN up_stage <> 'select' THEN -1"
        return f"CASE WHEN up_stage IS NULL THEN {len(self.rules)} {gone} {' '.join(cases)} END"

    def _columns(self) -> str:
        """Columns of `judged` from those of `samples`; notes what the numbers are."""
        said = ["part", '"row"', "sample_id", "fail::INTEGER AS fail", "up_threshold AS threshold"]
        for i, rule in enumerate(self.rules):
            if isinstance(rule, RankRule):
                self._add(i, rule.column.sql, tuple(rule.column.columns), ())
                reached, falls = f"fail >= {i}", f"fail = {i}"
                said += _compared(len(self.numbers) - 1, reached, rule.column.sql, falls)
                continue
            before: list[Test] = []
            for test in rule.condition.tests:
                if test.value is not None:
                    self._add(i, test.value, tuple(rule.condition.columns), bounds_of(self.con, test))
                    reached = " AND ".join([f"fail >= {i}", *(f"coalesce({t.sql}, false)" for t in before)])
                    said += _compared(len(self.numbers) - 1, reached, test.value, f"NOT coalesce({test.sql}, false)")
                before.append(test)
        return ", ".join(said)

    def _add(self, rule: int, value: str, columns: tuple[str, ...], bounds: tuple[Bound, ...]) -> None:
        self.numbers.append(Numbered(len(self.numbers), rule, value, columns, bounds))

    def _number(self) -> None:
        """The thresholds of ranks: what select wrote beside the rows that fell."""
        for of in self.numbers:
            rule = self.rules[of.rule]
            if isinstance(rule, RankRule) and rule.per is None:
                query = f"""SELECT DISTINCT threshold, v{of.at} < threshold FROM judged
                            WHERE f{of.at} AND threshold IS NOT NULL AND v{of.at} IS NOT NULL ORDER BY ALL"""
                found = tuple(Bound(t, "<" if below else ">") for t, below in self.con.execute(query).fetchall())
                self.numbers[of.at] = Numbered(of.at, of.rule, of.value, of.columns, found)


class _Decided:
    """select's decisions, read in step with the rows."""

    def __init__(self, store: Store) -> None:
        self._file = store.open(SELECTION)
        self._batches: Iterator[Any] = pq.ParquetFile(self._file).iter_batches(_BATCH, columns=_DECIDED)
        self._held: Any = pa.schema([]).empty_table()

    def take(self, ids: Any) -> pa.Table:
        """The next decisions, which must be about `ids`."""
        while self._held.num_rows < len(ids):
            batch = next(self._batches, None)
            if batch is None:
                break
            table = pa.Table.from_batches([batch])
            self._held = pa.concat_tables([self._held, table]) if self._held.num_rows else table
        found = self._held.slice(0, len(ids))
        if len(found) < len(ids) or found["sample_id"].combine_chunks() != ids.combine_chunks():
            raise WrongData(f"{SELECTION} is about other rows than the pool", "run the build to its end")
        self._held = self._held.slice(len(ids))
        return found

    def close(self) -> None:
        self._file.close()


def _used(rule: KeepRule | RankRule) -> list[str]:
    return rule.condition.columns if isinstance(rule, KeepRule) else rule.column.columns


def _compared(at: int, reached: str, value: str, falls: str) -> list[str]:
    return [
        f"CASE WHEN {reached} THEN ({value})::DOUBLE END AS v{at}",
        f"CASE WHEN {reached} THEN {falls} END AS f{at}",
    ]
