"""What `pairmill plan` prints: what is stale and why, and what making it will cost."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipelines.estimate_synthesis import Asking, forecast_asking
from pipelines.plan import Plan
from pipelines.steps import STEP_FILES, steps_of
from stages.families import all_families_of

_UNKNOWN_BYTES = "not known before a first part is fetched"
_SHOWN_REASONS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One stage of the forecast."""

    stage: str
    files: int
    stale: int
    why: dict[str, int]
    """Reason → number of files."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The whole of it. Rows and URLs are counted; bytes are estimated from the parts already fetched."""

    rows: int
    parts: int
    lines: list[Line]
    urls: int
    """Requests that a build would make, redirects and retries aside."""
    download_bytes: int | None
    """None while no part was ever fetched."""
    images: int
    """Images that a measure would look at."""
    asking: Asking | None
    """None where the recipe asks no model."""

    def as_json(self) -> dict[str, Any]:
        stages = [{"stage": x.stage, "files": x.files, "stale": x.stale, "why": x.why} for x in self.lines]
        estimate: dict[str, Any] = {"urls": self.urls, "bytes": self.download_bytes, "images": self.images}
        estimate |= {"tokens": 0, "money": 0.0} if self.asking is None else self.asking.as_json()
        return {"rows": self.rows, "parts": self.parts, "stages": stages, "estimate": estimate}

    def render(self) -> Group:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name, justify in (("stage", "left"), ("files", "right"), ("stale", "right"), ("why", "left")):
            table.add_column(name, justify=justify, overflow="fold")  # pyright: ignore[reportArgumentType]
        for line in self.lines:
            why = "; ".join(f"{w} ({n})" if line.files > 1 else w for w, n in list(line.why.items())[:_SHOWN_REASONS])
            table.add_row(line.stage, f"{line.files:,}", f"{line.stale:,}" if line.stale else "-", why or "done")
        size = _UNKNOWN_BYTES if self.download_bytes is None else f"about {self.download_bytes / 1e6:,.0f} MB"
        asking = "no tokens, no money" if self.asking is None else self.asking.told()
        cost = f"{self.rows:,} rows in {self.parts:,} parts; to do: {self.urls:,} URLs"
        cost += f" ({size})" if self.urls else ""
        return Group(table, Text(f"\n{cost}, {self.images:,} images to measure; {asking}"))


def forecast(plan: Plan) -> Forecast:
    """Look at every family and step of a plan."""
    lines: list[Line] = []
    stale_parts: dict[str, set[int]] = {}
    for family in all_families_of(plan.recipe):
        found = plan.family(family)
        stale_parts[family] = {s.part for s in found.stale}
        why = dict(found.reasons().most_common())
        lines.append(Line(family, plan.parts, len(found.stale), why))
    for step in steps_of(plan.recipe):
        why_step = plan.step(step)
        lines.append(Line(_shown(step), 1, int(bool(why_step)), {why_step: 1} if why_step else {}))
    fetch = stale_parts["parts"]
    urls = sum(_rows(plan, part) for part in fetch)
    measured = set().union(*(v for k, v in stale_parts.items() if k.startswith("measures/")), set())
    return Forecast(
        rows=plan.scan.rows,
        parts=plan.parts,
        lines=lines,
        urls=urls,
        download_bytes=_bytes(plan, urls),
        images=sum(_rows(plan, part) for part in measured),
        asking=forecast_asking(plan),
    )


def _shown(step: str) -> str:
    """The file of a step, as short as it is clear."""
    short = {"dedup": "groups", "shards": "shards"}
    return short.get(step, STEP_FILES[step].removesuffix(".parquet"))


def _rows(plan: Plan, part: int) -> int:
    """Rows of a part that are worth a request: repeats are not."""
    size = plan.recipe.pool.part_rows
    rows = min(size, plan.scan.rows - part * size)
    return rows - len(plan.scan.parts[part].repeats)


def _bytes(plan: Plan, urls: int) -> int | None:
    """Expected download, from the mean payload per row of the parts that are there."""
    totals: Counter[str] = Counter()
    for seal in plan.seals.of("parts").values():
        totals["bytes"] += int(seal.extra.get("tar_bytes", 0))
        totals["rows"] += seal.rows
    return int(totals["bytes"] / totals["rows"] * urls) if totals["rows"] else None
