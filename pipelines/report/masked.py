"""Masks over their pictures, what is measured of them, and what their rules reject."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.report.bounds import Bound, bounds_of
from pipelines.report.figures import FALLS, PASSES, swatch
from pipelines.report.histogram import bins, one
from pipelines.report.markup import Markup, count, join, line, number, share, tag
from pipelines.report.pictures import LARGE, LARGE_BYTES, Place, Shown, by_part, data_url, look, rows_of
from pipelines.report.rules import plot
from pipelines.report.section import UNITS, Built, Section
from schemas.mask import Mask, MaskFacts
from schemas.recipe import SelectConfig
from stages.ahead import ahead
from stages.families import FINAL, SELECTION, family_schema
from stages.masks.overlay import Look, overlay
from stages.masks.rules import built_in
from stages.select.check import KeepRule, check
from stages.store import Store
from stages.views import open_views

if TYPE_CHECKING:
    import duckdb

_KEPT, _FELL = 12, 6
"""Pictures of samples that are kept, and of those with masks that fell by the rules of `masks.keep`."""
_SHOWN = ("mask_count", "mask_coverage", "box_agreement", "mask_largest", "mask_clip")
_TITLES = {
    "mask_count": "Masks found in a picture",
    "mask_coverage": "Share of the picture under a mask",
    "box_agreement": "Agreement of boxes with their masks, the lowest of a sample",
    "mask_largest": "Size of the largest mask",
    "mask_clip": "Likeness of a mask's crop and the caption, the highest of a sample",
}
"""Facts of schemas.mask.MaskFacts → what their histogram shows."""


def masks(built: Built) -> Section | None:
    """None where there are none."""
    if built.recipe.masks is None or not built.done("masks") or not built.store.exists(SELECTION):
        return None
    judged = built.done("masked") > 0
    con = open_views(built.store, ["pool", "masks", *(["masked"] if judged else [])])
    try:
        columns = "count(*), count(*) FILTER (mask_count > 0), coalesce(sum(mask_count), 0)"
        looked, some, every = one(con, f"SELECT {columns} FROM segmented WHERE mask_count IS NOT NULL")
        if not looked:
            return None
        figures = _figures(con, built, judged)
        kept, fell = _kept(con, built.store.exists(FINAL)), _fell(con) if judged else []
        reasons = _reasons(con) if judged else None
    finally:
        con.close()
    intro = f"{count(looked, 'picture')} looked at, by {built.recipe.masks.backend}: {some:,} have masks "
    intro += f"({share(some, looked)}), {count(every, 'mask')} in all. Of several masks for one prompt the best counts."
    sheet = _sheet(built.store, kept, {})
    thrown = _sheet(built.store, [place for place, _ in fell], {place.sample_id: why for place, why in fell})
    plots = tag("div", *figures, class_="plots")
    content = [tag("p", intro), _legend(judged), plots, reasons]
    content += [tag("h3", "Kept samples with masks, in order of their hash"), sheet] if sheet else []
    content += [tag("h3", "Samples with masks that fell by the rules of masks.keep"), thrown] if thrown else []
    return Section("masks", "Masks", join(*content))


def _figures(con: "duckdb.DuckDBPyConnection", built: Built, judged: bool) -> list[Markup]:
    """What is measured of masks, over the pictures that were looked at."""
    limits, falls = _limits(con, built), "masked.reason IS NOT NULL" if judged else "false"
    join_ = "LEFT JOIN masked USING (sample_id)" if judged else ""
    out: list[Markup] = []
    for fact in _SHOWN:
        columns = f"segmented.{fact} AS v, {falls} AS f"
        some = "IS NOT NULL" if fact == "mask_count" else "> 0"  # of nothing there is nothing to measure
        relation = f"(SELECT {columns} FROM segmented {join_} WHERE segmented.mask_count {some})"
        bounds = limits.get(fact, ())
        found = bins(con, relation, "v", "f", [bound.value for bound in bounds])
        if found is not None:
            out.append(plot(found, _TITLES[fact], f"{fact} ({UNITS[fact]})", bounds))
    return out


def _limits(con: "duckdb.DuckDBPyConnection", built: Built) -> dict[str, tuple[Bound, ...]]:
    """Fact → the thresholds of `masks.keep` over it alone."""
    assert built.recipe.masks is not None
    keep = built.recipe.masks.keep
    rules = built_in(keep.model_copy(update={"rules": []}))  # the recipe's own may read other families
    columns = {f.name: f.type for f in family_schema("masks") if f.name in MaskFacts.columns()}
    out: dict[str, tuple[Bound, ...]] = {}
    for rule in check(SelectConfig(rules=rules), columns, "masks.keep").rules:
        if isinstance(rule, KeepRule) and len(rule.condition.columns) == 1:
            for test in rule.condition.tests:
                if test.value is not None:
                    out[rule.condition.columns[0]] = bounds_of(con, test)
    return out


def _kept(con: "duckdb.DuckDBPyConnection", final: bool) -> list[Place]:
    query = f"""SELECT s.part, s.row, sample_id FROM segmented AS s
                JOIN {"final" if final else "selection"} AS decided USING (sample_id)
                WHERE decided.kept AND s.mask_count > 0 ORDER BY sample_id LIMIT {_KEPT}"""
    return [Place(*row) for row in con.execute(query).fetchall()]


def _fell(con: "duckdb.DuckDBPyConnection") -> list[tuple[Place, str]]:
    """With what their rule said."""
    query = f"""SELECT s.part, s.row, sample_id, m.reason, m.value, m.threshold FROM segmented AS s
                JOIN masked AS m USING (sample_id)
                WHERE m.reason IS NOT NULL AND s.mask_count > 0 ORDER BY sample_id LIMIT {_FELL}"""
    return [(Place(*row[:3]), _why(*row[3:])) for row in con.execute(query).fetchall()]


def _why(reason: str, value: float | None, threshold: float | None) -> str:
    against = f" against {number(threshold)}" if threshold is not None else ""
    return f"{reason}: {number(value)}{against}" if value is not None else reason


def _reasons(con: "duckdb.DuckDBPyConnection") -> Markup | None:
    query = "SELECT reason, count(*) FROM masked WHERE reason IS NOT NULL GROUP BY reason ORDER BY 2 DESC, 1"
    rows = con.execute(query).fetchall()
    said = "; ".join(f"{reason} {n:,}" for reason, n in rows)
    return tag("p", f"Fell by the rules of masks.keep: {said}.") if rows else None


def _sheet(store: Store, places: list[Place], why: dict[str, str]) -> Markup | None:
    """Overlays of samples, in order."""
    if not places:
        return None
    found = _masks(store, places)

    def draw(place: Place, rgb: np.ndarray) -> np.ndarray:
        masks_ = [Mask.model_validate(mask) for mask in found[place.sample_id]["masks"]]
        return overlay(rgb, masks_, Look(least=LARGE, most=LARGE))

    seen = look(store, places, draw)
    tiles = [_tile(seen[p.sample_id], found[p.sample_id], why.get(p.sample_id)) for p in places]
    return tag("div", *tiles, class_="tiles large")


def _masks(store: Store, places: list[Place]) -> dict[str, dict[str, Any]]:
    columns = ["masks", "mask_count", "mask_coverage", "box_agreement"]

    def part(of: tuple[int, list[Place]]) -> dict[str, dict[str, Any]]:
        rows = rows_of(store, "masks", of[0], [place.row for place in of[1]], columns)
        return {place.sample_id: rows[place.row] for place in of[1]}

    return {sample: row for found in ahead(part, by_part(places).items()) for sample, row in found.items()}


def _tile(shown: Shown, facts: dict[str, Any], why: str | None) -> Markup:
    said = f"{count(facts['mask_count'], 'mask')}, {share(round(facts['mask_coverage'] * 1e4), 10_000)} of the picture"
    if facts["box_agreement"] is not None:
        said += f", box agreement {facts['box_agreement']:.2f}"
    if shown.rgb is None:
        picture = tag("div", tag("span", shown.why), class_="frame none")
    else:
        height, width = shown.rgb.shape[:2]
        alt = line(f"masks over the picture: {shown.caption or 'no caption'}", 200)
        url = data_url(shown.rgb, LARGE_BYTES)
        picture = tag("div", tag("img", src=url, alt=alt, width=width, height=height), class_="frame")
    caption = tag("span", shown.caption, class_="said", dir="auto") if shown.caption else None
    head = tag("b", why) if why else None
    note = tag("span", said, class_="note")
    return tag(
        "figure", picture, tag("figcaption", head, note, caption, tag("code", shown.sample_id[:12])), class_="tile"
    )


def _legend(judged: bool) -> Markup | None:
    passes = swatch(PASSES, "pictures that stay"), swatch(FALLS, "pictures that the rules of masks.keep reject")
    return tag("p", *passes, class_="legend") if judged else None
