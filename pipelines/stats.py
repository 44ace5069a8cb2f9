"""The survival table: what every stage got, kept, and rejected for which reason.

Of a finished build it is ledger/counts.parquet. Of one under way it is counted from what is there: a stage's line is
about the parts it has done, so `in` may be less than what the stage before it kept.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ledger import COUNTS
from pipelines.manifest import MANIFEST
from schemas.errors import WrongRequest
from stages.ahead import ahead
from stages.families import AFTER_SELECT, FAMILIES, SELECTION, families_in, part_file, part_files, stage_of
from stages.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDTH = 80
_BAR = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(slots=True)
class StageLine:
    """One stage's line. Counts are rows."""

    stage: str
    rows_in: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Reason → rows, most first."""


def stats(store: Store) -> list[StageLine]:
    """The lines of a build, finished or not, in order of stages. Raises WrongRequest where there is no build."""
    if store.exists(MANIFEST) and store.exists(COUNTS):
        return _from_counts(store.read_table(COUNTS).to_pylist())
    families = [family for family in families_in(store) if family not in AFTER_SELECT]
    if not families:
        raise WrongRequest(f"{store.url} holds no build", "give the folder that `pairmill build --out` wrote")
    return _counted(store, families)


def as_json(lines: list[StageLine]) -> dict[str, Any]:
    """`{stages: [{stage, in, kept, rejected: {reason: count}}]}`."""
    return {
        "stages": [{"stage": x.stage, "in": x.rows_in, "kept": x.kept, "rejected": x.rejected} for x in lines],
    }


def render(lines: list[StageLine]) -> "RenderableType":
    """A table for a terminal of 80 columns: a stage's line, its reasons under it, and what is left of all rows."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("in", justify="right")
    table.add_column("kept", justify="right")
    table.add_column("rejected", justify="right")
    table.add_column("left of all rows")
    inputs = lines[0].rows_in if lines else 0
    for line in lines:
        gone = line.rows_in - line.kept
        left = line.kept / inputs if inputs else 0.0
        bar = Text.assemble((bar_of(left), "green"), f" {left:7.2%}")
        table.add_row(Text(line.stage, "bold"), f"{line.rows_in:,}", f"{line.kept:,}", f"{gone:,}" if gone else "", bar)
        for reason, count in line.rejected.items():
            share = Text(f"{count / line.rows_in:.2%} of in", "dim")
            table.add_row(Text(f"  {reason}", "dim"), "", "", Text(f"{count:,}", "yellow"), share)
    return table


def bar_of(share: float, width: int = _BAR) -> str:
    """A bar in `width` columns, to an eighth of a column."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _room(lines: list[StageLine], inputs: int) -> int:
    """Columns left for the bar: names and numbers come first."""
    names = max((len(x) for line in lines for x in (line.stage, *(f"  {r}" for r in line.rejected))), default=0)
    numbers = 2 * len(f"{inputs:,}") + max(len("rejected"), *(len(f"{x.rows_in - x.kept:,}") for x in lines), 0)
    return min(max(_WIDTH - names - numbers - 4 * 2 - len(" 100.00%"), 4), _BAR)


def _from_counts(rows: list[dict[str, Any]]) -> list[StageLine]:
    lines: dict[str, StageLine] = {}
    for row in rows:
        line = lines.setdefault(row["stage"], StageLine(row["stage"], row["rows_in"], row["kept"]))
        if row["reason"] is not None:
            line.rejected[row["reason"]] = row["rejected"]
    return [_most_first(line) for line in lines.values()]


def _counted(store: Store, families: list[str]) -> list[StageLine]:
    lines = {family: StageLine(stage_of(family)) for family in families}
    there = {family: set(part_files(store, family)) for family in families}

    def one(part: int) -> dict[str, tuple[int, Counter[str]]]:
        return _part(store, [family for family in families if part in there[family]], part)

    for found in ahead(one, sorted(there[families[0]])):
        for family, (rows_in, reasons) in found.items():
            line = lines[family]
            line.rows_in += rows_in
            line.kept += rows_in - reasons.total()
            for reason, count in reasons.items():
                line.rejected[reason] = line.rejected.get(reason, 0) + count
    out = list(lines.values())
    if store.exists(SELECTION):
        out.append(_selected(store))
        out += [_late(store, family) for family in families_in(store) if family in AFTER_SELECT]
    return [_most_first(line) for line in out]


def _part(store: Store, families: list[str], part: int) -> dict[str, tuple[int, Counter[str]]]:
    """Per family: rows alive before it, and how many of those it rejects for which reason."""
    out: dict[str, tuple[int, Counter[str]]] = {}
    alive: Any = None
    for family in families:
        reason = store.read_table(part_file(family, part), ["reason"])["reason"].combine_chunks()
        if alive is None:
            alive = pa.array([True] * len(reason), pa.bool_())
        out[family] = (alive.true_count, _tally(reason.filter(alive)))
        alive = pc.and_(alive, pc.is_null(reason))
    return out


def _selected(store: Store) -> StageLine:
    """Select's own line: the rows that no stage before it rejected."""
    table = store.read_table(SELECTION, ["kept", "stage", "reason"])
    kept: int = pc.sum(table["kept"]).as_py() or 0
    mine: Any = pc.fill_null(pc.equal(table["stage"], pa.scalar("select")), pa.scalar(False))
    reasons = _tally(table["reason"].filter(mine))
    return StageLine("select", kept + reasons.total(), kept, dict(reasons))


def _late(store: Store, family: str) -> StageLine:
    """A stage after select: the rows that it has looked at have lists, the others nulls."""
    line, seen = StageLine(stage_of(family)), FAMILIES[family].columns()[-1]
    for name in part_files(store, family).values():
        table = store.read_table(name, [seen, "reason"])
        reasons = _tally(table["reason"])
        line.rows_in += table.num_rows - table[seen].null_count
        for reason, count in reasons.items():
            line.rejected[reason] = line.rejected.get(reason, 0) + count
    line.kept = line.rows_in - sum(line.rejected.values())
    return line


def _tally(reasons: Any) -> Counter[str]:
    return Counter({entry["values"]: entry["counts"] for entry in reasons.drop_null().value_counts().to_pylist()})


def _most_first(line: StageLine) -> StageLine:
    line.rejected = dict(sorted(line.rejected.items(), key=lambda item: (-item[1], item[0])))
    return line
