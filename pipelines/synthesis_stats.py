"""What synthesis kept, what it threw away and why, and what that cost: the family `conversations`, part by part.

Money is summed in whole 10⁻¹² of the recipe's currency, so the sums do not depend on the order of parts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.endpoint import PICO
from stages.ahead import ahead
from stages.families import part_files
from stages.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

FAMILY = "conversations"
_USAGE = ("usage.prompt_tokens", "usage.completion_tokens", "usage.cost")
_SAID = {"conversations": ("kind", "teacher", "repaired", *_USAGE), "dropped": ("kind", "teacher", "reason", *_USAGE)}
"""List → what is read of its elements; the texts are not."""
_KEYS = ["teacher", "kind", "reason", "repaired"]
_SUMS = ["prompt_tokens", "completion_tokens", "pico"]


@dataclass(slots=True)
class KindLine:
    """One teacher's conversations of one kind. Tokens and money are of all it wrote, kept or not."""

    teacher: str
    kind: str
    kept: int = 0
    repaired: int = 0
    """Of those kept: written a second time after a check's finding."""
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Reason → conversations."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    pico: int = 0
    """Cost, in 10⁻¹² of the currency."""
    pico_dropped: int = 0
    """The part of it that went into what was thrown away."""

    @property
    def written(self) -> int:
        return self.kept + self.dropped.total()


@dataclass(slots=True)
class Synthesis:
    """Of a build, or of the parts that are done."""

    samples: int = 0
    """Rows that were asked about: those that select kept."""
    with_conversation: int = 0
    """Rows of which at least one conversation was kept."""
    lines: list[KindLine] = field(default_factory=list[KindLine])
    """By teacher and kind."""

    @property
    def total(self) -> KindLine:
        """All lines added up; its teacher and kind are empty."""
        whole = KindLine("", "")
        for line in self.lines:
            _add(whole, line)
        return whole

    @property
    def cost_per_kept_sample(self) -> Decimal | None:
        """Everything that was paid, by samples with a conversation; None where there are none."""
        return money(self.total.pico) / self.with_conversation if self.with_conversation else None


def synthesis_summary(store: Store) -> Synthesis | None:
    """Of a build, finished or not; None where no part has conversations. Memory: one part's numbers, never its texts.

    Raises WrongData for a file that is torn."""
    files = part_files(store, FAMILY)
    if not files:
        return None
    columns = ["sample_id", *(f"{of}.list.element.{name}" for of, names in _SAID.items() for name in names)]
    summary, lines = Synthesis(), defaultdict[tuple[str, str], KindLine](lambda: KindLine("", ""))
    for table in ahead(lambda name: store.read_table(name, columns), files.values()):
        asked = table["conversations"].drop_null()
        summary.samples += len(asked)
        some: Any = pc.greater(pc.list_value_length(asked), pa.scalar(0))
        summary.with_conversation += pc.sum(some).as_py() or 0
        for of in _SAID:
            for group in _grouped(table[of]):
                _count(lines[group["teacher"], group["kind"]], group)
    for (line_teacher, line_kind), line in sorted(lines.items()):
        line.teacher, line.kind = line_teacher, line_kind
        line.dropped = Counter(dict(sorted(line.dropped.items(), key=lambda item: (-item[1], item[0]))))
        summary.lines.append(line)
    return summary


def money(pico: int) -> Decimal:
    """Of the recipe's currency."""
    return Decimal(pico) / PICO


def as_json(summary: Synthesis) -> dict[str, Any]:
    """`{samples, with_conversation, kinds: [{teacher, kind, kept, …}], total: {kept, …}, cost_per_kept_sample}`."""
    each, total = summary.cost_per_kept_sample, summary.total
    return {
        "samples": summary.samples,
        "with_conversation": summary.with_conversation,
        "kinds": [{"teacher": line.teacher, "kind": line.kind, **_numbers(line)} for line in summary.lines],
        "total": _numbers(total),
        "cost_per_kept_sample": None if each is None else float(each),
    }


def render(summary: Synthesis) -> "RenderableType":
    """For a terminal of 80 columns, per teacher: a line for each kind, its reasons under it; and what it comes to."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from pipelines.show import safe

    shown: dict[str, Table] = {}
    for line in summary.lines:
        if line.teacher not in shown:
            table = shown[line.teacher] = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
            table.add_column("kind", no_wrap=True)
            for name in ("kept", "dropped", "tokens in", "tokens out", "cost"):
                table.add_column(name, justify="right", no_wrap=True)
        shown[line.teacher].add_row(safe(line.kind), *_cells(line))
        for reason, count in line.dropped.items():
            shown[line.teacher].add_row(Text(f"  {safe(reason)}", "dim"), "", Text(f"{count:,}", "yellow"))
    named = [part for teacher, table in shown.items() for part in (Text(safe(teacher), "bold"), table)]
    return Group(*named, Text(_closing(summary)))


def _closing(summary: Synthesis) -> str:
    each, total = summary.cost_per_kept_sample, summary.total
    said = f"{summary.with_conversation:,} of {summary.samples:,} samples have a conversation"
    said += f"; {total.kept:,} of {total.written:,} conversations were kept"
    said += f", {total.repaired:,} of them written twice" if total.repaired else ""
    if total.pico:
        lost = total.pico_dropped / total.pico
        said += f"\ncost {_shown(money(total.pico))}, {lost:.0%} of it for what was dropped"
        said += "" if each is None else f"; {_shown(each)} per sample with a conversation"
    return said


def _cells(line: KindLine) -> list[str]:
    numbers = (line.kept, line.dropped.total(), line.prompt_tokens, line.completion_tokens)
    return [*(f"{number:,}" if number else "" for number in numbers), _shown(money(line.pico)) if line.pico else ""]


def _shown(amount: Decimal) -> str:
    """Two decimals, of less than one six."""
    return f"{amount:,.{2 if amount >= 1 else 6}f}"


def _numbers(line: KindLine) -> dict[str, Any]:
    return {
        "kept": line.kept,
        "repaired": line.repaired,
        "dropped": dict(line.dropped),
        "prompt_tokens": line.prompt_tokens,
        "completion_tokens": line.completion_tokens,
        "cost": float(money(line.pico)),
        "cost_dropped": float(money(line.pico_dropped)),
    }


def _grouped(lists: pa.ChunkedArray) -> Iterable[dict[str, Any]]:
    """Number and sums of a column's elements, per teacher, kind, reason and whether repaired."""
    said: Any = pa.chunked_array([chunk.flatten() for chunk in lists.chunks], lists.type.value_type)  # pyright: ignore
    names = {lists.type.value_type.field(i).name for i in range(lists.type.value_type.num_fields)}
    nothing = pa.nulls(len(said), pa.string())
    tokens = [pc.struct_field(said, ["usage", name]) for name in ("prompt_tokens", "completion_tokens")]
    cost: Any = pc.struct_field(said, ["usage", "cost"])
    table = pa.table(
        {
            **{key: pc.struct_field(said, key) if key in names else nothing for key in _KEYS},
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "pico": pc.cast(pc.round(pc.multiply(cost, float(PICO))), pa.int64()),
        }
    )
    sums: Any = [*((name, "sum") for name in _SUMS), ([], "count_all")]
    return table.group_by(_KEYS).aggregate(sums).to_pylist()


def _count(line: KindLine, group: dict[str, Any]) -> None:
    number, reason = group["count_all"], group["reason"]
    line.prompt_tokens += group["prompt_tokens_sum"] or 0  # null: none of them has a usage
    line.completion_tokens += group["completion_tokens_sum"] or 0
    line.pico += group["pico_sum"] or 0
    if reason is None:
        line.kept += number
        line.repaired += number if group["repaired"] else 0
    else:
        line.dropped[reason] += number
        line.pico_dropped += group["pico_sum"] or 0


def _add(whole: KindLine, line: KindLine) -> None:
    for name in ("kept", "repaired", "prompt_tokens", "completion_tokens", "pico", "pico_dropped"):
        setattr(whole, name, getattr(whole, name) + getattr(line, name))
    whole.dropped.update(line.dropped)
