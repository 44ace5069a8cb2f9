"""What other rules would keep: decided from the measures alone, nothing written, no model loaded."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from schemas.errors import WrongData, WrongRequest
from schemas.recipe import Recipe
from schemas.rules import Rule
from stages.families import SELECTION, families_of, part_file, part_files, sample_schema
from stages.select.check import KeepRule, check
from stages.select.decide import Decisions
from stages.store import Store

if TYPE_CHECKING:
    import duckdb

NEW_RULE = "whatif"
"""Reason of a rule that replaces none."""


@dataclass(frozen=True, slots=True)
class Change:
    """Rules to try: a condition, the reason of the rule that it replaces, reasons of rules to leave out."""

    rule: str | None = None
    replace: str | None = None
    """By default the rule over the same columns, where there is just one; else the condition is added at the end."""
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """Rows a stage rejects for a reason, now and then."""

    stage: str
    reason: str
    now: int
    then: int


@dataclass(frozen=True, slots=True)
class Marginal:
    """A sample close to the threshold. `kept`: what the changed rules decide."""

    sample_id: str
    url: str | None
    caption: str | None
    value: float
    threshold: float
    kept: bool


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer. Counts are rows."""

    changes: list[str]
    """In words: what was replaced, added, dropped."""
    inputs: int
    kept_now: int
    kept_then: int
    newly_kept: int
    newly_rejected: int
    reasons: list[ReasonLine]
    marginal: list[Marginal] = field(default_factory=list)
    """By value; of those that the rule alone decides: rejected by it, or kept. Empty when it compares no number."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def whatif(store: Store, recipe: Recipe, change: Change | str, limit: int = 5) -> WhatIf:
    """What `change` (a Change, or a condition alone) to the recipe's rules would keep of a measured build.

    `limit`: marginal samples on each side of the threshold. Raises WrongRequest for a rule that is not one, and
    WrongData when the build is not measured or was decided over other rows.
    """
    asked = Change(rule=change) if isinstance(change, str) else change
    then, watch, words = changed(recipe, asked)
    parts = len(part_files(store, "pool"))
    if not parts:
        raise WrongRequest(f"{store.url} holds no build", "give the folder that `pairmill build --out` wrote")
    with Decisions(store, then, parts, watch) as decisions:
        _add_now(decisions.con, store, recipe, parts, decisions.rows)
        counts = _counts(decisions.con)
        nearest = _nearest(decisions.con, watch, limit) if watch and decisions.watched else []
        return WhatIf(words, decisions.rows, *counts, _reasons(decisions.con), _named(store, nearest))


def changed(recipe: Recipe, change: Change) -> tuple[Recipe, str | None, list[str]]:
    """The recipe with other rules, the reason of the new rule, and the changes in words. Raises WrongRequest."""
    rules = list(recipe.select.rules)
    reasons = [rule.reason for rule in rules]
    if change.replace is not None and change.rule is None:
        raise WrongRequest(f"nothing replaces {change.replace!r}", "give --rule, or use --drop")
    if change.rule is None and not change.drop:
        raise WrongRequest("nothing is changed", "give --rule or --drop")
    for reason in (*change.drop, *([change.replace] if change.replace else [])):
        if reason not in reasons:
            raise WrongRequest(f"no rule is called {reason!r}", f"the rules are: {', '.join(reasons) or 'none'}")
    words = [f"{reason} dropped" for reason in change.drop]
    watch: str | None = None
    if change.rule is not None:
        kept = [rule for rule in rules if rule.reason not in change.drop]
        replaced = change.replace or _same_columns(recipe, kept, change.rule)
        watch = replaced or NEW_RULE
        rule = Rule(reason=watch, keep=change.rule)
        rules = [rule if r.reason == replaced else r for r in rules] if replaced else [*rules, rule]
        was = next((r.keep or "a rank" for r in recipe.select.rules if r.reason == replaced), "")
        words.append(f"{watch}: {was} → {change.rule}" if replaced else f"{watch} added: {change.rule}")
    left = [rule for rule in rules if rule.reason not in change.drop or rule.reason == watch]
    return recipe.model_copy(update={"select": recipe.select.model_copy(update={"rules": left})}), watch, words


def _same_columns(recipe: Recipe, rules: list[Rule], text: str) -> str | None:
    """Reason of the only rule that reads the same columns as a new condition."""
    columns = {f.name: f.type for f in sample_schema(families_of(recipe))}
    config = recipe.select.model_copy(update={"rules": [*rules, Rule(reason=NEW_RULE, keep=text)], "best": []})
    *there, mine = check(config, columns).rules
    wanted = set(mine.condition.columns) if isinstance(mine, KeepRule) else set[str]()
    same = [rule.rule.reason for rule in there if isinstance(rule, KeepRule) and set(rule.condition.columns) == wanted]
    return same[0] if len(same) == 1 else None


def _add_now(con: "duckdb.DuckDBPyConnection", store: Store, recipe: Recipe, parts: int, rows: int) -> None:
    """Table `now` beside `decisions`: what selection.parquet says; decided by the recipe where that is not there."""
    columns = ["sample_id", "stage", "reason"]
    if store.exists(SELECTION):
        now = store.read_table(SELECTION, columns)
    else:
        with Decisions(store, recipe, parts) as decided:
            now = pa.concat_tables(t.select(columns) for t in decided.batches())
    if now.num_rows != rows:
        raise WrongData(f"{SELECTION} is about {now.num_rows} rows, the pool has {rows}", "run the build to its end")
    con.register("now", now.append_column("pos", pa.array(np.arange(rows))))


def _counts(con: "duckdb.DuckDBPyConnection") -> tuple[int, int, int, int]:
    """Kept now, kept then, newly kept, newly rejected."""
    (found,) = con.execute(
        """SELECT count(*) FILTER (now.stage IS NULL), count(*) FILTER (d.stage IS NULL),
                  count(*) FILTER (now.stage IS NOT NULL AND d.stage IS NULL),
                  count(*) FILTER (now.stage IS NULL AND d.stage IS NOT NULL)
           FROM now JOIN decisions AS d USING (pos)"""
    ).fetchall()
    return found


def _reasons(con: "duckdb.DuckDBPyConnection") -> list[ReasonLine]:
    """Lines in order of stage, select's by how many they reject now; those alike now and then are there too."""
    rows = con.execute(
        """SELECT stage, reason, sum(n)::BIGINT, sum(t)::BIGINT FROM (
               SELECT stage, reason, 1 AS n, 0 AS t FROM now UNION ALL SELECT stage, reason, 0, 1 FROM decisions
           ) WHERE stage IS NOT NULL GROUP BY stage, reason
           ORDER BY stage = 'select', sum(n) DESC, sum(t) DESC, stage, reason"""
    ).fetchall()
    return [ReasonLine(*row) for row in rows]


def _nearest(con: "duckdb.DuckDBPyConnection", reason: str, limit: int) -> list[tuple[Any, ...]]:
    """(part, row, sample_id, value, threshold, kept) nearest the threshold: rejected by the rule, and kept."""
    return con.execute(
        """SELECT part, "row", sample_id, watched, watched_threshold, kept FROM (
               SELECT *, stage IS NULL AS kept, row_number() OVER (
                   PARTITION BY stage IS NULL ORDER BY abs(watched - watched_threshold), sample_id) AS place
               FROM decisions WHERE watched IS NOT NULL AND (stage IS NULL OR (stage = 'select' AND reason = ?))
           ) WHERE place <= ? ORDER BY watched, sample_id""",
        [reason, limit],
    ).fetchall()


def _named(store: Store, nearest: list[tuple[Any, ...]]) -> list[Marginal]:
    """The same samples with their url and caption, read from the parts that hold them."""
    pools: dict[int, Any] = {}
    out: list[Marginal] = []
    for part, row, sample_id, value, threshold, kept in nearest:
        if part not in pools:
            pools[part] = store.read_table(part_file("pool", part), ["url", "caption"])
        url, caption = (pools[part][name][row].as_py() for name in ("url", "caption"))
        out.append(Marginal(sample_id, url, caption, value, threshold, kept))
    return out
