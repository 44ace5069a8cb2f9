"""What was decided of a part's rows: by its stages, in their final states, in the ledger. All must say the same."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.checks.finding import Finding, some
from pipelines.checks.parquet import breach
from pipelines.ledger import ledger_file
from stages.families import AFTER_SELECT, EVIDENCE, FAMILIES, part_file, stage_of

_DECIDED = ["stage", *EVIDENCE.names]


@dataclass(frozen=True, slots=True)
class PartTask:
    """A part and the rows that the global files hold of it; None where such a file cannot be read."""

    part: int
    selection: pa.Table | None
    """Every row's final state."""
    ledger: pa.Table | None
    decided: str
    """The file that `selection` is of."""


@dataclass
class PartCheck:
    """What a part was found to hold."""

    part: int
    rows: int = 0
    ids: pa.ChunkedArray | None = None
    kept: pa.Table | None = None
    """sample_id, split, and sha256 of image, json, txt: what a shard must hold of each kept sample."""
    rejections: int = 0
    """Rows of this part with a line in the ledger."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def found(self, file: str, what: str) -> None:
        self.findings.append(Finding(file, what))


def decided_by_families(tables: dict[str, pa.Table], out: PartCheck) -> dict[str, Any]:
    """Stage, reason and evidence of each row's first rejection by a family; also checks who may be null where."""
    alive: Any = pa.array([True] * out.rows, pa.bool_())
    taken = alive  # what the families of one pass see: those of the measure pass all see what download kept
    said: dict[str, Any] = {n: pa.nulls(out.rows, pa.string()) for n in ("stage", "reason", "detail")}
    said |= {n: pa.nulls(out.rows, pa.float64()) for n in ("value", "threshold")}
    for family, table in tables.items():
        if family in AFTER_SELECT:
            continue
        reason = table["reason"].combine_chunks()
        _check_nulls(family, table, taken, out)
        new = _both(alive, pc.is_valid(reason))
        said["stage"] = pc.if_else(new, stage_of(family), said["stage"])
        for name in EVIDENCE.names:
            said[name] = pc.if_else(new, table[name].combine_chunks(), said[name])
        alive = _both(alive, pc.is_null(reason))
        if family in ("pool", "parts"):
            taken = alive
    return said


def _check_nulls(family: str, table: pa.Table, taken: Any, out: PartCheck) -> None:
    """Rows rejected before hold nothing; rows kept here fit the contract as declared."""
    name = part_file(family, out.part)
    before = table.filter(_not(taken))
    full = [c for c in table.column_names if c != "sample_id" and before[c].null_count < before.num_rows]
    if full and family != "pool":
        out.found(name, f"column {full[0]!r} has values in rows that an earlier stage rejected")
    kept = table.filter(_both(taken, pc.is_null(table["reason"].combine_chunks())))
    out.findings += breach(name, kept, FAMILIES[family].arrow_schema())
    if family == "parts" and kept["member"].null_count:
        out.found(name, f"{kept['member'].null_count} kept rows have no image")


def decided_late(
    tables: dict[str, pa.Table], rows: pa.Table, decided: dict[str, Any], out: PartCheck
) -> dict[str, Any]:
    """`decided` with the rejections of the families after select, each of which must be about the rows kept so far."""
    late = {family: stage_of(family) for family in tables if family in AFTER_SELECT}
    mine: Any = pc.is_in(rows["stage"], pa.array([*late.values()], pa.string()))
    alive = _either(rows["kept"], mine).combine_chunks()
    for family, stage in late.items():
        table = tables[family]
        _check_nulls(family, table, alive, out)
        new = _both(alive, pc.is_valid(table["reason"].combine_chunks()))
        decided["stage"] = pc.if_else(new, stage, decided["stage"])
        for name in EVIDENCE.names:
            decided[name] = pc.if_else(new, table[name].combine_chunks(), decided[name])
        alive = _both(alive, _not(new))
    return decided


def check_selection(task: PartTask, decided: dict[str, Any] | None, out: PartCheck) -> None:
    """The final states are of this part's rows in order, and of a row that a family rejected say just that."""
    rows, file = task.selection, task.decided
    assert rows is not None
    if rows["sample_id"] != out.ids or rows["row"].to_pylist() != list(range(out.rows)):
        out.found(file, f"does not hold the rows of part {out.part:05d} in order")
        return
    gone = _not(rows["kept"])
    _count(rows.filter(gone), out)
    odd: Any = pc.xor(gone, _both(pc.is_valid(rows["stage"]), pc.is_valid(rows["reason"])))
    if decided is not None:
        by_family: Any = pc.is_valid(decided["stage"])
        by_select = pc.fill_null(pc.equal(rows["stage"], pa.scalar("select")), pa.scalar(False))
        odd = _either(odd, _both(_not(by_family), _both(gone, _not(by_select))))
        for name in _DECIDED:
            odd = _either(odd, _both(by_family, differ(rows[name], decided[name])))
    wrong: list[Any] = rows["sample_id"].filter(odd).to_pylist()
    if wrong:
        out.found(file, some(wrong, f"of part {out.part:05d}: not what its stages decided"))


def check_ledger(task: PartTask, out: PartCheck) -> None:
    """The ledger has one line for each row that is rejected, saying the same."""
    assert task.selection is not None
    if task.ledger is None:
        return
    ledger, file = task.ledger, ledger_file(out.part)
    wanted = task.selection.filter(_not(task.selection["kept"])).select(ledger.column_names)
    have: list[Any] = ledger["sample_id"].to_pylist()
    want: list[Any] = wanted["sample_id"].to_pylist()
    out.rejections = len(set(have) & set(want))
    if have == want:
        odd: Any = pa.array([False] * len(have), pa.bool_())
        for name in ledger.column_names:
            odd = _either(odd, differ(ledger[name], wanted[name]))
        wrong: list[Any] = ledger["sample_id"].filter(odd).to_pylist()
        if wrong:
            out.found(file, some(wrong, f"not what {task.decided} says"))
        return
    there, due = set(have), set(want)
    lost, stray = [s for s in want if s not in there], [s for s in have if s not in due]
    if lost:
        out.found(file, some(lost, "rejected and not in the ledger"))
    if stray:
        out.found(file, some(stray, "in the ledger and not rejected"))
    if not lost and not stray:
        out.found(file, f"the lines of part {out.part:05d} are out of order or repeated")


def _count(rejected: pa.Table, out: PartCheck) -> None:
    for row in rejected.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist():
        if row["stage"] is not None and row["reason"] is not None:
            out.counts[row["stage"], row["reason"]] += row["count_all"]


def differ(a: Any, b: Any) -> Any:
    """Where two columns are not the same; null equals null, NaN equals NaN."""
    no = pa.scalar(False)
    same = _either(pc.fill_null(pc.equal(a, b), no), _both(pc.is_null(a), pc.is_null(b)))
    if pa.types.is_floating(a.type):
        same = _either(same, pc.fill_null(_both(pc.is_nan(a), pc.is_nan(b)), no))
    return _not(same)


def _not(mask: Any) -> Any:
    return pc.invert(mask)


def _both(a: Any, b: Any) -> Any:
    return pc.and_(a, b)


def _either(a: Any, b: Any) -> Any:
    return pc.or_(a, b)
