"""What is counted and drawn of a rule: every row once, on the side on which select put it."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.report.bounds import Bound, bounds_of
from pipelines.report.figures import histogram
from pipelines.report.histogram import Bins, bins
from pipelines.report.judged import Judged
from pipelines.report.markup import Markup, join, line, lines, number, share, tag
from pipelines.report.section import axis_of
from schemas.recipe import ClipConfig, MeasureConfig, PdqConfig, PoolConfig, Recipe, SelectConfig
from schemas.rules import QuantileRule, Rule, TopRule
from stages.select.conditions import Binder
from stages.select.decide import decide
from stages.sql import connect
from stages.store import Store
from tests.builders import Rejected, build, sample, sid

if TYPE_CHECKING:
    import duckdb


@pytest.fixture
def con() -> Iterator["duckdb.DuckDBPyConnection"]:
    opened = connect(threads=1)
    yield opened
    opened.close()


def binned(con: "duckdb.DuckDBPyConnection", values: Any, falls: str = "false", *thresholds: float) -> Bins:
    con.register("data", pa.table({"x": pa.array(values, pa.float64(), from_pandas=False)}))
    found = bins(con, "data", "x", falls, thresholds)
    assert found is not None
    return found


DRAW = np.random.default_rng(3)
SHAPES = {
    "normal": DRAW.normal(0.3, 0.05, 3000),
    "float32": DRAW.normal(0.3, 0.05, 3000).astype(np.float32),
    "a long tail": np.exp(DRAW.normal(0, 3, 3000)),
    "one far off": np.append(DRAW.normal(0, 1, 3000), 1e12),
    "all alike": np.full(50, 0.25),
    "one": np.array([-7.5]),
    "huge": DRAW.normal(1e15, 1e13, 500),
    "words": DRAW.poisson(12, 3000),
    "pixels": DRAW.integers(16, 4000, 3000),
    "zeros": np.zeros(10),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_row_is_in_one_bin_or_counted_beyond(con: "duckdb.DuckDBPyConnection", name: str) -> None:
    values = SHAPES[name]
    middle = float(np.median(values))
    found = binned(con, [*values.tolist(), None, math.nan, math.inf], f"x < {middle!r}", middle)
    assert (found.rows, found.lost) == (len(values), 3)
    assert sum(found.kept) + sum(found.fallen) + found.below + found.above == len(values)
    assert found.below + found.above <= 0.03 * len(values)
    assert 1 <= len(found.kept) <= 80 and (found.low, found.high) == (values.min(), values.max())
    edges = found.start + found.step * np.arange(len(found.kept) + 1)
    counted = [int(((a <= values) & (values < b)).sum()) for a, b in pairwise(edges)]
    close = np.abs(np.array(found.kept) + found.fallen - counted).sum()
    assert close <= 0.01 * len(values), "numpy counts the same, but for values on an edge"
    drawn = histogram(found, "t", "x", (Bound(middle, "<"),))
    assert "nan" not in drawn and "inf" not in drawn and drawn.startswith("<svg")


def test_a_threshold_lies_on_an_edge_and_parts_the_colours(con: "duckdb.DuckDBPyConnection") -> None:
    values = np.random.default_rng(1).uniform(0, 1, 2000)
    found = binned(con, values, "x < 0.273", 0.273)
    edges = found.start + found.step * np.arange(len(found.kept) + 1)
    at = int(np.argmin(np.abs(edges - 0.273)))
    assert abs(edges[at] - 0.273) < 1e-9
    assert sum(found.fallen[at:]) == 0 and sum(found.kept[:at]) == 0


def test_a_far_threshold_is_pointed_at_and_squeezes_nothing(con: "duckdb.DuckDBPyConnection") -> None:
    found = binned(con, np.random.default_rng(1).uniform(1, 1.4, 500), "x > 3", 3.0)
    assert found.start + found.step * len(found.kept) < 1.6
    drawn = histogram(found, "t", "x", (Bound(3.0, ">"),))
    assert "needs ≤ 3 ▸" in drawn and "stroke-dasharray" not in drawn
    assert "stroke-dasharray" in histogram(found, "t", "x", (Bound(1.2, ">"),))


def test_whole_numbers_have_bins_of_their_own(con: "duckdb.DuckDBPyConnection") -> None:
    found = binned(con, [0, 1, 1, 2, 5], "x < 2", 2.0)
    assert (found.start, found.step, found.whole) == (-0.5, 1.0, True)
    assert (found.kept, found.fallen) == ([0, 0, 1, 0, 0, 1], [1, 2, 0, 0, 0, 0])


def test_nothing_to_count(con: "duckdb.DuckDBPyConnection") -> None:
    con.register("data", pa.table({"x": pa.array([None, math.nan], pa.float64(), from_pandas=False)}))
    assert bins(con, "data", "x", "false") is None


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("clip_score >= 0.28", [(0.28, "<", "≥")]),
        ("0.28 < clip_score", [(0.28, "<=", ">")]),
        ("aspect <= 2 + 1", [(3.0, ">", "≤")]),
        ("10 > aspect", [(10.0, ">=", "<")]),
        ("width * height BETWEEN 100 AND 2e4", [(100.0, "<", "≥"), (20000.0, ">", "≤")]),
        ("channels = 3", [(3.0, "!=", "=")]),
        ("channels != -1", [(-1.0, "=", "≠")]),
        ("width > NULL::INTEGER", []),
    ],
)
def test_bounds(con: "duckdb.DuckDBPyConnection", condition: str, expected: list[tuple[float, str, str]]) -> None:
    columns = {"clip_score": pa.float32(), "aspect": pa.float32()}
    columns |= dict.fromkeys(("width", "height", "channels"), pa.int32())
    with Binder(columns) as binder:
        (test,) = binder.condition("rule", condition).tests
    assert [(b.value, b.falls, b.stays) for b in bounds_of(con, test)] == expected


# ------------------------------------------------------------------------------------------------ the rows of a build


class Origin:
    identity = {"stage": "select"}
    inputs: dict[str, str] = {}
    fingerprint = "f"


def judged(tmp_path: Path, *rules: Rule) -> tuple[Store, Recipe]:
    """clip_score i/16 for sample i = 0–15; even ones in English, odd ones in German; 5 has no picture."""
    rows = [
        sample(5, rejected=Rejected("download", "timeout"))
        if i == 5
        else sample(i, clip_score=i / 16, caption_words=i, language="de" if i % 2 else "en")
        for i in range(16)
    ]
    store = build(tmp_path, rows, part_rows=6)
    asked = Recipe(
        name="test",
        pool=PoolConfig(paths=["x"]),
        measure=MeasureConfig(pdq=PdqConfig(), clip=ClipConfig(model="m")),
        select=SelectConfig(rules=list(rules)),
    )
    decide(store, asked, 3, Origin())
    return store, asked


def test_rows_reach_a_rule_that_passed_those_before_it(tmp_path: Path) -> None:
    rules = [
        Rule(reason="a", keep="clip_score >= 0.25"),
        Rule(reason="b", keep="caption_words <= 12 AND clip_score <> 0.5 AND length(caption) > 2"),
        Rule(reason="c", keep="width > 100 OR height > 100"),
    ]
    with Judged(*judged(tmp_path, *rules)) as found:
        assert [found.counts(i) for i in range(3)] == [(15, 4), (11, 4), (7, 7)]
        assert [(n.rule, n.value, [b.value for b in n.bounds]) for n in found.numbers] == [
            (0, "clip_score", [0.25]),
            (1, "caption_words", [12.0]),
            (1, "clip_score", [0.5]),
            (1, "length(caption)", [2.0]),
        ]
        fallen = "count(*) FILTER (f{0}), count(*) FILTER (f{0} IS NOT NULL)"
        query = f"SELECT {', '.join(fallen.format(i) for i in range(4))} FROM judged"
        assert found.con.execute(query).fetchall() == [(4, 15, 3, 11, 1, 8, 0, 7)]
        near = [(place.sample_id, value) for place, value in found.nearest(found.numbers[0], False, 2)]
        assert near == [(sid(4), 0.25), (sid(6), 0.375)]
        ((place, value),) = found.nearest(found.numbers[0], True, 1)
        assert (place.part, place.row, place.sample_id, value) == (0, 3, sid(3), 3 / 16)


def test_ranks_have_the_thresholds_that_select_found(tmp_path: Path) -> None:
    quantile = QuantileRule(column="clip_score", low=0.2, high=0.8)
    top = TopRule(column="clip_score", share=0.5, per="language")
    rules = [Rule(reason="middle", quantile=quantile), Rule(reason="best", top=top)]
    with Judged(*judged(tmp_path, *rules)) as found:
        ranked, grouped = found.numbers
        assert [(b.value, b.falls) for b in ranked.bounds] == [(3 / 16, "<"), (12 / 16, ">")]
        assert found.counts(0) == (15, 6) and grouped.bounds == ()
        assert [place.sample_id for place, _ in found.nearest(ranked, True, 2)] == [sid(2), sid(13)]
        assert len(found.nearest(grouped, True, 9)) == found.counts(1)[1] > 0


# ------------------------------------------------------------------------------------------------ words


def test_what_is_no_element_is_text() -> None:
    said = tag("p", "<b>", tag("i", 'a"b'), None, title='"><script>', class_="x", data_of=None)
    assert said == '<p title="&quot;&gt;&lt;script&gt;" class="x">&lt;b&gt;<i>a&quot;b</i></p>'
    assert tag("img", src="a&b") == '<img src="a&amp;b">' and tag("rect", x=1 / 3) == '<rect x="0.33"/>'
    assert join("a", Markup("<br>"), by=" & ") == "a &amp; <br>"


def test_text_is_cut_and_made_visible() -> None:
    assert line("a\n b\t\x07c", 10) == "a b \\x07c"
    assert line("x" * 50, 10) == "x" * 9 + "…" == line("x" * 50_000, 10)
    assert lines("a\nb\u202ec", 10) == "a\nb\\u202ec" and len(lines("y\n" * 900, 20)) <= 20


def test_numbers_for_readers() -> None:
    assert [number(x) for x in (0.2, 3.0, 12345.6, 1e6, 1 / 3)] == ["0.2", "3", "12,346", "1,000,000", "0.3333"]
    shares = [share(*x) for x in ((0, 5), (5, 5), (1, 10_000), (9_999, 10_000), (1, 3), (0, 0))]
    assert shares == ["0 %", "100 %", "under 0.1 %", "over 99.9 %", "33.3 %", "0 %"]


def test_an_axis_names_its_unit() -> None:
    assert axis_of("clip_score", ("clip_score",)) == "clip_score (cosine, −1–1)"
    assert axis_of("least(width, height)", ("width", "height")) == "least(width, height) (pixels)"
    assert axis_of("(width * height)", ("width", "height")) == "(width * height)"
    assert axis_of("least(width, aspect)", ("width", "aspect")) == "least(width, aspect)"
