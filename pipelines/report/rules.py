"""Select's rules: what each number looks like, where the threshold cuts, and the pictures on both sides of it."""

from collections.abc import Sequence

from pipelines.report.bounds import Bound
from pipelines.report.figures import FALLS, PASSES, histogram, swatch
from pipelines.report.histogram import Bins, bins
from pipelines.report.judged import Judged, Numbered
from pipelines.report.markup import Markup, count, join, line, number, share, tag
from pipelines.report.pictures import Place, Shown, look, tile
from pipelines.report.section import Built, Section, axis_of
from stages.families import SELECTION, families_of
from stages.select.check import KeepRule, RankRule
from stages.store import Store

_BESIDE = 5
"""Pictures on each side of a threshold."""
_MOST = 24
"""Comparisons with a figure and pictures; of more there are the counts alone."""
_TEXT = 300
_OTHERS = (("rule", None), ("condition", None), ("rows that reached it", "number"), ("fall", "number"))
_TITLE = "Rules and their thresholds"
_INTRO = (
    "Each figure counts the rows that reached the rule: those that every stage and every rule before it let pass. "
    "With it are the pictures nearest the threshold, on each side. What another threshold would keep: "
)


def rules(built: Built) -> Section | None:
    """None while nothing is selected, and where there are no rules."""
    ready = built.store.exists(SELECTION) and built.whole(families_of(built.recipe))
    if not ready or not built.recipe.select.rules:
        return None
    if not built.finished and not _current(built):
        said = "The rows were selected by other rules than the recipe has now: run the build to its end to see these."
        return Section("rules", _TITLE, tag("p", said))
    with Judged(built.store, built.recipe) as judged:
        shown = judged.numbers[:_MOST]
        cards = [_card(built.store, judged, of) for of in shown]
        rest = [i for i in range(len(judged.rules)) if all(of.rule != i for of in shown)]
        table = _others(judged, rest) if rest else None
    intro = tag("p", _INTRO, tag("code", 'pairmill whatif BUILD --rule "…"'))
    return Section("rules", _TITLE, join(intro, legend(), *cards, table))


def _current(built: Built) -> bool:
    """Whether the selection of an unfinished build was made by the recipe's rules."""
    seal = built.store.seal(SELECTION)
    config = seal.extra.get("identity", {}).get("config", {}) if seal is not None else {}
    return config.get("rules") == built.recipe.select.decisive()["rules"]


def legend() -> Markup:
    """Of a histogram."""
    return tag("p", swatch(PASSES, "rows that pass"), swatch(FALLS, "rows that fall"), class_="legend")


def plot(of: Bins | None, title: str, axis: str, bounds: Sequence[Bound] = (), verb: str = "needs") -> Markup:
    """A histogram with what is not drawn in it said below; a line of text where there is nothing to draw."""
    if of is None:
        return tag("p", f"No row has a value of {axis}.", class_="empty")
    said = [f"{count(of.lost, 'row')} without a value"] if of.lost else []
    said += [f"{count(of.below, 'row')} below {number(of.start)} (least {number(of.low)})"] if of.below else []
    end = of.start + of.step * len(of.kept)
    said += [f"{count(of.above, 'row')} above {number(end)} (most {number(of.high)})"] if of.above else []
    return tag(
        "div",
        tag("p", title, class_="title"),
        histogram(of, title, axis, bounds, verb),
        tag("p", f"Not drawn: {'; '.join(said)}.", class_="note") if said else None,
        class_="plot",
    )


def _card(store: Store, judged: Judged, of: Numbered) -> Markup:
    rule, (reached, gone) = judged.rules[of.rule], judged.counts(of.rule)
    relation = f"(SELECT * FROM judged WHERE {of.reached})"
    found = bins(judged.con, relation, f"v{of.at}", f"f{of.at}", [bound.value for bound in of.bounds])
    axis = axis_of(of.value, of.columns)
    rows = found.rows if found else 0
    title = f"{line(of.value, 60)} of {count(rows, 'row')} that reached the rule"
    fell = judged.nearest(of, True, _BESIDE)
    grouped = isinstance(rule, RankRule) and rule.per is not None
    passed = [] if grouped else judged.nearest(of, False, _BESIDE)
    seen = look(store, [place for place, _ in (*fell, *passed)])
    said = f"{gone:,} of {reached:,} rows fall ({share(gone, reached)})."
    sides = [_side("Fall, nearest the threshold", "falls", fell, seen)]
    sides += [] if grouped else [_side("Pass, nearest the threshold", "passes", passed, seen)]
    return tag(
        "article",
        tag("h3", rule.rule.reason),
        tag("p", tag("code", line(_text_of(rule), _TEXT)), tag("span", said), class_="rule"),
        tag("div", plot(found, title, axis, of.bounds), tag("div", *sides, class_="sides"), class_="card"),
    )


def _side(title: str, kind: str, found: list[tuple[Place, float]], seen: dict[str, Shown]) -> Markup:
    tiles = [tile(seen[place.sample_id], number(value)) for place, value in found]
    content = tag("div", *tiles, class_="tiles five") if tiles else tag("p", "none", class_="empty")
    return tag("div", tag("h4", title, class_=kind), content)


def _others(judged: Judged, which: list[int]) -> Markup:
    """Rules without a figure: conditions that compare no single number."""
    rows = list[Markup]()
    for i in which:
        rule, (reached, gone) = judged.rules[i], judged.counts(i)
        cells = [tag("td", f"{n:,}", class_="number") for n in (reached, gone)]
        name, text = tag("th", rule.rule.reason, scope="row"), tag("td", tag("code", line(_text_of(rule), _TEXT)))
        rows.append(tag("tr", name, text, *cells))
    header = tag("tr", *(tag("th", name, scope="col", class_=of) for name, of in _OTHERS))
    title = tag("h3", "Rules without a figure")
    return join(title, tag("div", tag("table", tag("thead", header), tag("tbody", *rows)), class_="scroll"))


def _text_of(rule: KeepRule | RankRule) -> str:
    """What a rule asks, in the recipe's words."""
    return rule.rule.keep or "" if isinstance(rule, KeepRule) else rule.text
