"""Whether a recipe's rules can be applied to what it measures, before any work."""

from dataclasses import dataclass
from typing import Any

from schemas.errors import WrongRequest
from schemas.recipe import SelectConfig
from schemas.rules import QuantileRule, Rule
from stages.select.conditions import Binder, Expression, OrderTerm

DUPLICATE = "duplicate"
"""The reason of a group member that does not survive; no rule may be called so."""


@dataclass(frozen=True, slots=True)
class KeepRule:
    """A rule that looks at one row."""

    rule: Rule
    condition: Expression


@dataclass(frozen=True, slots=True)
class RankRule:
    """A rule that keeps what lies between two ranks of a column, among the rows that passed every rule before it."""

    rule: Rule
    column: Expression
    per: Expression | None
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """A checked SelectConfig."""

    rules: tuple[KeepRule | RankRule, ...]
    best: tuple[OrderTerm, ...]

    @property
    def columns(self) -> list[str]:
        """Every column that a rule or an order term reads."""
        used: list[str] = [c for term in self.best for c in term.expression.columns]
        for rule in self.rules:
            if isinstance(rule, KeepRule):
                used += rule.condition.columns
            else:
                used += [*rule.column.columns, *(rule.per.columns if rule.per else [])]
        return list(dict.fromkeys(used))


def check(config: SelectConfig, columns: dict[str, Any], where: str = "select") -> Rules:
    """The rules, parsed and bound over `columns` (name → Arrow type: `families.sample_schema`). `where`: in errors.

    Raises WrongRequest naming the rule and, where one is unknown, the column and the closest known one.
    """
    reasons = [rule.reason for rule in config.rules]
    for reason in reasons:
        if reason == DUPLICATE or reasons.count(reason) > 1:
            taken = "the name of what dedup rejects" if reason == DUPLICATE else "the name of two rules"
            raise WrongRequest(f"{where}.rules: {reason!r} is {taken}", "give each rule a reason of its own")
    with Binder(columns) as binder:
        rules = tuple(_rule(binder, rule) for rule in config.rules)
        best = tuple(binder.order(f"select.best[{i}]", text) for i, text in enumerate(config.best))
    return Rules(rules, best)


def _rule(binder: Binder, rule: Rule) -> KeepRule | RankRule:
    what = f"rule {rule.reason!r}"
    if rule.keep is not None:
        return KeepRule(rule, binder.condition(what, rule.keep))
    ranked = rule.top or rule.quantile
    assert ranked is not None
    low, high = (ranked.low, ranked.high) if isinstance(ranked, QuantileRule) else (1.0 - ranked.share, 1.0)
    if low > high:
        raise WrongRequest(f"{what}: low {low:g} is above high {high:g}", "swap them")
    text = f"quantiles {low:g} to {high:g}" if isinstance(ranked, QuantileRule) else f"top {ranked.share:g}"
    text += f" of {ranked.column}" + (f" per {ranked.per}" if ranked.per else "")
    per = binder.column(what, ranked.per) if ranked.per else None
    return RankRule(rule, binder.number(what, ranked.column), per, low, high, text)
