"""What asking an endpoint will cost, before it is asked: from a few rows of the pool and the rows that are to come."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.late import replies_folder
from pipelines.plan import Plan
from pipelines.run_late import kept_rows
from schemas.sample import Candidate, Described
from schemas.synthesize import BatchConfig
from stages.families import SELECTION

_LOOKED_AT = 32
"""Rows from which the mean tokens of a request are taken."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Requests still to be asked for, and what they take."""

    samples: int
    at_most: bool
    """Select has not decided yet: every row of the pool is taken to be kept."""
    requests: int
    tokens: int
    money: Decimal

    def as_json(self) -> dict[str, Any]:
        """`{samples, at_most, requests, tokens, money}`."""
        return {
            "samples": self.samples,
            "at_most": self.at_most,
            "requests": self.requests,
            "tokens": self.tokens,
            "money": float(self.money),
        }

    def told(self) -> str:
        """One line for a person."""
        least = "at most " if self.at_most else "about "
        price = f"{least}{self.money:,.2f} at the recipe's prices" if self.money else "no money"
        asked = f"{least}{self.requests:,} requests about {self.samples:,} samples"
        return f"to ask: {asked}, {self.tokens:,} tokens, {price}"


def forecast_asking(plan: Plan) -> Asking | None:
    """None where the recipe asks no model. Replies that the cache has already are not subtracted."""
    from stages.synthesize.estimate import estimate

    config = plan.recipe.synthesize
    if config is None or config.teacher != "model" or config.endpoint is None:
        return None
    parts = [stale.part for stale in plan.family("conversations").stale]
    decided = plan.store.exists(SELECTION) and plan.step("select") is None
    samples = sum(_kept(plan, part) if decided else _rows(plan, part) for part in parts)
    folder = Path(replies_folder(plan.recipe, plan.store))
    asked = plan.synthesize.asked(_looked_at(plan))
    found = estimate(asked, config, folder if folder.is_dir() else None)
    requests = sum(round(one.requests / one.samples * samples) for one in found if one.samples)
    prices = config.endpoint.prices
    discount = Decimal(str(config.batch.discount)) if isinstance(config.batch, BatchConfig) else Decimal(1)
    cost = sum((one.cost(samples, prices) for one in found), Decimal(0)) * discount
    return Asking(samples, not decided, requests, sum(one.tokens(samples) for one in found), cost)


def _rows(plan: Plan, part: int) -> int:
    """Rows of a part that may be kept."""
    size = plan.recipe.pool.part_rows
    return min(size, plan.scan.rows - part * size) - len(plan.scan.parts[part].repeats)


def _kept(plan: Plan, part: int) -> int:
    return kept_rows(plan.store, part).true_count


def _looked_at(plan: Plan) -> pa.Table:
    """The first rows of the pool as the teacher gets them; pictures are taken to be as large as they are sent."""
    assert plan.recipe.synthesize is not None
    side = pa.scalar(plan.recipe.synthesize.image_size, pa.int32())
    table = next(iter(plan.pool.parts([p.repeats for p in plan.scan.parts])))
    rows = table.filter(pc.is_null(table["reason"])).slice(0, _LOOKED_AT)
    there, schema = Candidate.columns(), Described.arrow_schema()
    columns = [rows[f.name] if f.name in there else pa.repeat(side, rows.num_rows) for f in schema]
    return pa.table(columns, names=schema.names)
