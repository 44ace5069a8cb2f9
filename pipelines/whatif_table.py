"""The answer of `pairmill whatif` for a terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.show import safe
from pipelines.whatif import WhatIf

_CAPTION = 44


def render(found: WhatIf) -> RenderableType:
    """What changes, by reason, and the samples next to the threshold."""
    share = found.kept_then / found.inputs if found.inputs else 0.0
    lines: list[RenderableType] = [Text("; ".join(found.changes))]
    lines.append(
        Text(
            f"keeps {found.kept_then:,} of {found.inputs:,} rows ({share:.1%}); now {found.kept_now:,}: "
            f"{found.newly_kept:,} more, {found.newly_rejected:,} fewer\n"
        )
    )
    lines.append(_reasons(found))
    if found.marginal:
        lines += [Text("\nnext to the threshold:"), _marginal(found)]
    return Group(*lines)


def _reasons(found: WhatIf) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("rejected by")
    for name in ("now", "then", "change"):
        table.add_column(name, justify="right")
    for line in found.reasons:
        if line.stage != "select" and line.now == line.then:
            continue  # earlier stages have decided; their lines are in `pairmill stats`
        change = f"{line.then - line.now:+,}" if line.then != line.now else ""
        table.add_row(f"{line.stage}/{line.reason}", f"{line.now:,}", f"{line.then:,}", change)
    return table


def _marginal(found: WhatIf) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("value", justify="right")
    for name in ("then", "sample", "caption"):
        table.add_column(name, no_wrap=True)
    for sample in found.marginal:
        caption = safe(sample.caption or "")
        short = caption if len(caption) <= _CAPTION else caption[: _CAPTION - 1] + "…"
        row = [f"{sample.value:.4f}", "kept" if sample.kept else "rejected", sample.sample_id[:12], short]
        table.add_row(*(Text(cell) for cell in row))
    return table
