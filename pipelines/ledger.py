"""The ledger: every rejected row with its evidence, and the survival table, both from the rows' final states.

`ledger/NNNNN.parquet` holds the rejections of 100 parts, in (part, row) order; `ledger/counts.parquet` is written last
and is the step's commit mark. Its lines: for each stage in order one with reason null, then one per reason; what a
stage keeps is what the next one gets.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import WrongData
from schemas.ledger import Rejection, StageCount
from schemas.recipe import Recipe
from schemas.row import cast
from stages.families import families_of, final_file, late_families_of, stage_of
from stages.shard.rows import RowStream
from stages.store import Store, digest, sealed

COUNTS = "ledger/counts.parquet"
PARTS_PER_FILE = 100
_VERSION = 1


def write_ledger(store: Store, recipe: Recipe) -> list[dict[str, Any]]:
    """Bring `ledger/` in line with the final states; returns the rows of counts.parquet.

    Files that are right already are not written again. Raises WrongData where a rejected row has no stage or reason.
    """
    decided = final_file(recipe)
    selection = store.seal(decided)
    if selection is None:
        raise WrongData(f"{decided} is missing from {store.url}", "run the build again")
    fingerprint = digest({"version": _VERSION, "selection": selection.content, "stages": stages_of(recipe)})
    done = store.seal(COUNTS)
    if done is not None and done.fingerprint == fingerprint and done.extra.get("files") == _files(store):
        return store.read_table(COUNTS).to_pylist()
    store.remove(COUNTS)
    counter: Counter[tuple[str, str]] = Counter()
    written: list[str] = []
    for name, table in _rejections(store, decided):
        counter.update(_pairs(table))
        written.append(name)
        store.write_table(name, table, sealed(table, fingerprint, "ledger"))
    for name in store.listing("ledger"):
        if name not in written:
            store.remove(name)
    rows = survival(recipe, selection.rows, counter)
    counts = pa.Table.from_pylist(rows, schema=StageCount.arrow_schema())
    store.write_table(COUNTS, counts, sealed(counts, fingerprint, "ledger", files=_files(store)))
    return rows


def ledger_file(part: int) -> str:
    """The ledger file with a part's rejections."""
    return f"ledger/{part // PARTS_PER_FILE:05d}.parquet"


def stages_of(recipe: Recipe) -> list[str]:
    """Every stage that may reject a row, in order."""
    late = late_families_of(recipe)
    return [*(stage_of(f) for f in families_of(recipe)), "select", *(stage_of(f) for f in late)]


def survival(recipe: Recipe, inputs: int, rejected: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows of counts.parquet from rejected rows per (stage, reason). Raises WrongData for a stage not in the recipe."""
    stages = stages_of(recipe)
    stray = sorted({stage for stage, _ in rejected} - set(stages))
    if stray:
        raise WrongData(f"rows were rejected by {stray[0]!r}, which the recipe does not have", "run the build again")
    rows: list[dict[str, Any]] = []
    alive = inputs
    for stage in stages:
        reasons = [(reason, rejected[stage, reason]) for reason in _in_order(recipe, stage, rejected)]
        total = sum(count for _, count in reasons)
        line = {"stage": stage, "reason": None, "rows_in": alive, "kept": alive - total, "rejected": total}
        rows += [line, *({**line, "reason": reason, "rejected": count} for reason, count in reasons)]
        alive -= total
    return rows


def _in_order(recipe: Recipe, stage: str, rejected: Counter[tuple[str, str]]) -> list[str]:
    """A stage's reasons: those of select as its rules stand, then the rest by name."""
    ruled = [rule.reason for rule in recipe.select.rules] if stage == "select" else []
    found = {reason for (s, reason), count in rejected.items() if s == stage and count}
    return [*(r for r in dict.fromkeys(ruled) if r in found), *sorted(found - set(ruled))]


def _files(store: Store) -> list[list[Any]]:
    return [[name, size] for name, size in store.listing("ledger").items() if name != COUNTS]


def _pairs(table: pa.Table) -> Counter[tuple[str, str]]:
    counted = table.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({(row["stage"], row["reason"]): row["count_all"] for row in counted})


def _rejections(store: Store, decided: str) -> Iterator[tuple[str, pa.Table]]:
    """Ledger file by ledger file. A file without a rejection is written too: missing would look like lost."""
    stream = RowStream(store, decided)
    held: list[pa.Table] = []
    group = 0
    try:
        while (rows := stream.take(65_536)).num_rows:
            groups = np.asarray(rows["part"]) // PARTS_PER_FILE
            gone = ~np.asarray(rows["kept"])
            for of in range(group, int(groups[-1]) + 1):
                if of > group:
                    yield _file(group, held)
                    held, group = [], of
                held.append(rows.filter(pa.array((groups == of) & gone)))
        if held or stream.rows:
            yield _file(group, held)
    finally:
        stream.close()


def _file(group: int, tables: list[pa.Table]) -> tuple[str, pa.Table]:
    name = ledger_file(group * PARTS_PER_FILE)
    table = pa.concat_tables(tables)
    nameless = table.filter(pc.or_(pc.is_null(table["stage"]), pc.is_null(table["reason"])))
    if nameless.num_rows:
        raise WrongData(
            f"sample {nameless['sample_id'][0].as_py()} is rejected without a stage or a reason",
            "run the build again to decide anew",
        )
    return name, cast(table, Rejection.arrow_schema(), name)
