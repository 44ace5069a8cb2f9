"""The answer of `pairmill index` for a terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.index_folder import IndexReport
from pipelines.show import safe

_ENDINGS = 20


def render(found: IndexReport) -> RenderableType:
    """What the folder holds, and which members its samples have, most frequent first."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("what", style="bold")
    table.add_column("how many", justify="right")
    table.add_row("shards", f"{found.shards:,}")
    table.add_row("samples", f"{found.samples:,}")
    table.add_row("bytes", f"{found.bytes:,}")
    table.add_row("samples without an image", f"{found.without_image:,}")
    if found.ignored:
        table.add_row("files of no sample", f"{found.ignored:,}")
    return Group(table, Text(), _endings(found), Text(f"\n{_done(found)}"))


def _endings(found: IndexReport) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("ending")
    table.add_column("samples", justify="right")
    table.add_column("share", justify="right")
    for ending, count in list(found.endings.items())[:_ENDINGS]:
        table.add_row(Text(safe(ending)), f"{count:,}", f"{count / found.samples:.1%}")
    if len(found.endings) > _ENDINGS:
        rest = sum(list(found.endings.values())[_ENDINGS:])
        table.add_row(f"{len(found.endings) - _ENDINGS:,} more", f"{rest:,}", "")
    return table


def _done(found: IndexReport) -> str:
    gone = f", {found.removed:,} gone" if found.removed else ""
    return f"{found.read:,} tars read, {found.shards - found.read:,} known{gone}; index in {safe(found.index)}"
