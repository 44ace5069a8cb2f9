"""Rules: conditions over measures, each with the reason of those that fail it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.config import StageConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TopRule(StageConfig):
    """Keep the best share of a column, over all or per value of `per`."""

    column: str
    share: Share
    per: str | None = None


class QuantileRule(StageConfig):
    """Keep what lies between two quantiles of a column, over all or per value of `per`."""

    column: str
    low: Share = 0.0
    high: Share = 1.0
    per: str | None = None


class Rule(StageConfig):
    """One rule: a reason and exactly one of keep, top, quantile. The first rule that fails is the row's reason."""

    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    keep: str | None = None
    """SQL condition over the measures that a kept row satisfies; null counts as failed."""
    top: TopRule | None = None
    quantile: QuantileRule | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(x is not None for x in (self.keep, self.top, self.quantile)) != 1:
            raise ValueError(f"rule {self.reason!r} needs exactly one of keep, top, quantile")
        return self
