"""Decisions on hand-made builds: who is kept, and the stage, reason and numbers of who is not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from schemas.errors import WrongData, WrongRequest
from schemas.ledger import Selected
from schemas.recipe import (
    ClipConfig,
    DedupConfig,
    MeasureConfig,
    NearConfig,
    PdqConfig,
    PoolConfig,
    Recipe,
    SelectConfig,
    SemanticConfig,
)
from schemas.rules import QuantileRule, Rule, TopRule
from stages.families import SELECTION
from stages.select.decide import decide
from stages.store import Store, content_hash
from tests.builders import Rejected, build, sample, sid, write_duplicates


@dataclass(frozen=True)
class Origin:
    fingerprint: str = "f"
    identity: dict[str, Any] = field(default_factory=lambda: {"stage": "select"})
    inputs: dict[str, str] = field(default_factory=dict)


def recipe(rules: Sequence[Rule] = (), best: Sequence[str] = (), dedup: DedupConfig | None = None) -> Recipe:
    return Recipe(
        name="test",
        pool=PoolConfig(paths=["x"]),
        measure=MeasureConfig(pdq=PdqConfig(), clip=ClipConfig(model="m")),
        select=SelectConfig(rules=list(rules), best=list(best)),
        dedup=dedup,
    )


def rule(reason: str, keep: str) -> Rule:
    return Rule(reason=reason, keep=keep)


def decisions(store: Store, of: Recipe) -> dict[int, dict[str, Any]]:
    """Sample number → its line, after checking what holds of every selection."""
    parts = len([n for n in store.listing("pool") if n.endswith(".parquet")])
    kept = decide(store, of, parts, Origin())
    table = store.read_table(SELECTION)
    assert table.schema.remove_metadata().equals(Selected.arrow_schema().remove_metadata())
    seal = store.seal(SELECTION)
    assert seal is not None
    assert (seal.content, seal.rows, seal.stage) == (content_hash(table), table.num_rows, "select")
    rows = table.to_pylist()
    assert [(r["part"], r["row"]) for r in rows] == sorted((r["part"], r["row"]) for r in rows)
    assert all(r["kept"] == (r["reason"] is None) == (r["stage"] is None) for r in rows)
    assert kept == sum(r["kept"] for r in rows)
    return {int(r["sample_id"], 16): r for r in rows}


def said(row: dict[str, Any]) -> tuple:
    return tuple(row[n] for n in ("stage", "reason", "value", "threshold", "detail"))


def reasons(found: dict[int, dict[str, Any]]) -> dict[int, str | None]:
    return {number: row["reason"] for number, row in found.items()}


# ------------------------------------------------------------------------------------------- keep rules


def test_the_first_rejection_counts_and_keeps_its_evidence(tmp_path: Path) -> None:
    store = build(
        tmp_path,
        [
            sample(0, url=None, rejected=Rejected("pool", "missing_url")),
            sample(1, rejected=Rejected("download", "too_small", 8.0, 16.0, "8 x 40")),
            sample(2, rejected=Rejected("measure/image", "undecodable", detail="truncated")),
            sample(3, clip_score=0.25, caption_words=1),
            sample(4, clip_score=0.75, caption_words=1),
            sample(5, clip_score=0.75, caption_words=4),
        ],
    )
    found = decisions(store, recipe([rule("low_clip", "clip_score >= 0.5"), rule("short", "caption_words > 1")]))
    assert said(found[0]) == ("pool", "missing_url", None, None, None)
    assert said(found[1]) == ("download", "too_small", 8.0, 16.0, "8 x 40")
    assert said(found[2]) == ("measure/image", "undecodable", None, None, "truncated")
    assert said(found[3]) == ("select", "low_clip", 0.25, 0.5, "clip_score >= 0.5: clip_score = 0.25")
    assert said(found[4]) == ("select", "short", 1.0, 1.0, "caption_words > 1: caption_words = 1")
    assert said(found[5]) == (None, None, None, None, None)


@pytest.mark.parametrize(
    ("condition", "value", "threshold"),
    [
        ("clip_score >= 0.5", 0.25, 0.5),
        ("0.5 <= clip_score", 0.25, 0.5),
        ("clip_score * 2 > 2 + 1", 0.5, 3.0),
        ("clip_score between 0.5 and 0.75", 0.25, 0.5),
        ("clip_score between 0.125 and 0.1875", 0.25, 0.1875),
        ("caption_words >= 1 and (clip_score > 0.5 and width > 99)", 0.25, 0.5),
        ("clip_score > -0.5 and width > 99", 16.0, 99.0),
        ("caption_words = 99", 2.0, 99.0),
        ("clip_score > 0.5 or width > 99", None, None),
        ("not clip_score < 0.5", None, None),
        ("caption_words > width", None, None),
        ("caption like 'x%'", None, None),
        ("language = 'en'", None, None),
    ],
)
def test_value_and_threshold_are_what_the_failed_comparison_compares(
    condition: str, value: float | None, threshold: float | None, tmp_path: Path
) -> None:
    store = build(tmp_path, [sample(0, clip_score=0.25)])
    assert said(decisions(store, recipe([rule("r", condition)]))[0])[1:4] == ("r", value, threshold)


def test_detail_shows_the_condition_and_the_columns(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(0, caption="it's " + "x" * 100)])
    found = decisions(store, recipe([rule("r", "language\n  = 'en' and caption   <> ''")]))
    assert found[0]["detail"] == "language = 'en' and caption <> '': language = null, caption = it's " + "x" * 55


def test_null_and_nan_fail_whatever_the_condition_compares(tmp_path: Path) -> None:
    nan = float("nan")
    store = build(tmp_path, [sample(0, language=None), sample(1, clip_score=nan), sample(2, language="en")])
    found = decisions(store, recipe([rule("language", "language <> 'de'"), rule("clip", "clip_score > 0.1")]))
    assert reasons(found) == {0: "language", 1: "language", 2: None}
    store = build(tmp_path, [sample(0, language=None), sample(1, clip_score=nan), sample(2, language="en")])
    found = decisions(store, recipe([rule("clip", "clip_score > 0.1")]))
    assert reasons(found) == {0: None, 1: "clip", 2: None}
    assert said(found[1])[2:] == (None, 0.1, "clip_score > 0.1: clip_score = null")


def test_rules_read_every_kind_of_column(tmp_path: Path) -> None:
    box = {"label": "cat", "x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0}
    store = build(tmp_path, [sample(0, boxes=[box], extra='{"a": "b"}'), sample(1)])
    for condition in ("boxes[1].label = 'cat'", "extra->>'a' = 'b'"):
        assert reasons(decisions(store, recipe([rule("r", condition)]))) == {0: None, 1: "r"}
    for condition in ("len(clip_image) = 8", "octet_length(pdq) = 32", "part + row < 2", "width = image_width"):
        assert reasons(decisions(store, recipe([rule("r", condition)]))) == {0: None, 1: None}


def test_a_condition_that_fails_on_the_data_is_named(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(0, language="en")])
    with pytest.raises(WrongRequest, match=r"fails on the data: .*'en'.*try_cast"):
        decisions(store, recipe([rule("r", "cast(language as int) > 3")]))
    assert not store.exists(SELECTION)


# ------------------------------------------------------------------------------------------- ranks


def top(share: float, per: str | None = None) -> Rule:
    return Rule(reason="top", top=TopRule(column="clip_score", share=share, per=per))


def quantile(low: float, high: float) -> Rule:
    return Rule(reason="mid", quantile=QuantileRule(column="clip_score", low=low, high=high))


def kept(found: dict[int, dict[str, Any]]) -> list[int]:
    return sorted(number for number, row in found.items() if row["kept"])


TEN = [sample(i, clip_score=i / 16) for i in range(10)]


@pytest.mark.parametrize(
    ("of", "left"),
    [
        (top(0.3), [7, 8, 9]),
        (top(0.25), [7, 8, 9]),
        (top(0.1), [9]),
        (top(0.0), [9]),
        (top(1.0), list(range(10))),
        (quantile(0.1, 0.9), [1, 2, 3, 4, 5, 6, 7, 8]),
        (quantile(0.0, 0.5), [0, 1, 2, 3, 4]),
        (quantile(0.5, 1.0), [5, 6, 7, 8, 9]),
    ],
)
def test_shares_and_quantiles_count_rows(of: Rule, left: list[int], tmp_path: Path) -> None:
    assert kept(decisions(build(tmp_path, TEN), recipe([of]))) == left


def test_rank_evidence_is_the_value_and_the_cut(tmp_path: Path) -> None:
    found = decisions(build(tmp_path, TEN), recipe([quantile(0.2, 0.9)]))
    assert said(found[1]) == ("select", "mid", 1 / 16, 2 / 16, "quantiles 0.2 to 0.9 of clip_score")
    assert said(found[9]) == ("select", "mid", 9 / 16, 8 / 16, "quantiles 0.2 to 0.9 of clip_score")


def test_ties_with_the_cut_are_kept(tmp_path: Path) -> None:
    scores = [0.25, 0.5, 0.5, 0.5, 0.75]
    store = build(tmp_path, [sample(i, clip_score=s) for i, s in enumerate(scores)])
    assert kept(decisions(store, recipe([top(0.4)]))) == [1, 2, 3, 4]


def test_ranks_are_taken_among_the_rows_that_passed_everything_before(tmp_path: Path) -> None:
    words = rule("short", "caption_words > 1")
    samples = [sample(i, clip_score=i / 16, caption_words=9 if i < 4 else 1) for i in range(10)]
    samples.append(sample(10, clip_score=0.9, rejected=Rejected("download", "x")))
    store = build(tmp_path, samples)
    assert kept(decisions(store, recipe([words, top(0.5)]))) == [2, 3]
    found = decisions(store, recipe([top(0.5), words]))
    assert kept(found) == []
    assert reasons(found) == dict.fromkeys(range(5), "top") | dict.fromkeys(range(5, 10), "short") | {10: "x"}


def test_one_rank_after_another(tmp_path: Path) -> None:
    wide = Rule(reason="wide", top=TopRule(column="aspect", share=0.5))
    samples = [sample(i, clip_score=i / 16, aspect=float(10 - i)) for i in range(8)]
    found = decisions(build(tmp_path, samples), recipe([top(0.5), wide]))
    assert reasons(found) == {0: "top", 1: "top", 2: "top", 3: "top", 4: None, 5: None, 6: "wide", 7: "wide"}


def test_ranks_per_group_and_null_is_a_group(tmp_path: Path) -> None:
    languages = ["en", "en", "en", "de", "de", None, None, "fr"]
    samples = [sample(i, clip_score=i / 16, language=v) for i, v in enumerate(languages)]
    found = decisions(build(tmp_path, samples), recipe([top(0.4, per="language")]))
    assert kept(found) == [1, 2, 4, 6, 7]
    assert said(found[3])[1:] == ("top", 3 / 16, 4 / 16, "top 0.4 of clip_score per language, language = de")
    assert found[5]["detail"].endswith("language = null")


def test_a_row_without_a_value_fails_and_does_not_count(tmp_path: Path) -> None:
    samples = [sample(i, clip_score=v) for i, v in enumerate([0.1, float("nan"), None, 0.4])]
    found = decisions(build(tmp_path, samples), recipe([top(0.5)]))
    assert kept(found) == [3]
    assert said(found[1]) == said(found[2]) == ("select", "top", None, None, "top 0.5 of clip_score")
    nothing = [sample(i, clip_score=None) for i in range(3)]
    assert kept(decisions(build(tmp_path / "b", nothing), recipe([top(0.5)]))) == []


# ------------------------------------------------------------------------------------------- duplicates

DEDUP = DedupConfig(near=NearConfig(radius=31), semantic=SemanticConfig(threshold=0.75))


def group(store: Store, *members: int, kind: str = "near", distance: float = 4.0) -> None:
    rows = [
        {
            "sample_id": sid(m),
            "group": sid(members[0]),
            "kind": kind,
            "distance": distance,
            "linked_to": sid(members[0]),
        }
        for m in members
    ]
    write_duplicates(store, rows)


def test_the_best_of_a_group_survives(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(i, clip_score=s) for i, s in enumerate([0.25, 0.5, 0.75, 0.5])])
    group(store, 0, 1, 2)
    found = decisions(store, recipe(best=["clip_score desc"], dedup=DEDUP))
    assert kept(found) == [2, 3]
    assert said(found[0]) == ("select", "duplicate", 4.0, 31.0, f"{sid(2)} (near)")
    assert kept(decisions(store, recipe(best=["clip_score"], dedup=DEDUP))) == [0, 3]
    assert kept(decisions(store, recipe(dedup=DEDUP))) == [0, 3]


def test_ties_and_nulls_in_best(tmp_path: Path) -> None:
    scores = [None, 0.5, 0.5, float("nan")]
    store = build(tmp_path, [sample(i, clip_score=s, caption_words=i) for i, s in enumerate(scores)])
    group(store, 0, 1, 2, 3)
    assert kept(decisions(store, recipe(best=["clip_score desc"], dedup=DEDUP))) == [1]
    assert kept(decisions(store, recipe(best=["clip_score desc", "caption_words desc"], dedup=DEDUP))) == [2]
    assert kept(decisions(store, recipe(best=["clip_score desc nulls first"], dedup=DEDUP))) == [0]


@pytest.mark.parametrize(
    ("kind", "distance", "limit"), [("exact", 0.0, 0.0), ("near", 9.0, 31.0), ("semantic", 0.125, 0.25)]
)
def test_the_threshold_is_that_of_the_kind(kind: str, distance: float, limit: float, tmp_path: Path) -> None:
    store = build(tmp_path, [sample(0), sample(1)])
    group(store, 0, 1, kind=kind, distance=distance)
    assert said(decisions(store, recipe(dedup=DEDUP))[1]) == (
        "select",
        "duplicate",
        distance,
        limit,
        f"{sid(0)} ({kind})",
    )


def test_a_rejected_original_never_takes_its_good_copy_with_it(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(0, clip_score=0.75, caption_words=1), sample(1, clip_score=0.5)])
    group(store, 0, 1)
    found = decisions(store, recipe([rule("short", "caption_words > 1")], best=["clip_score desc"], dedup=DEDUP))
    assert reasons(found) == {0: "short", 1: None}


def test_a_rank_rule_comes_before_the_group(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(i, clip_score=i / 16, caption_words=i) for i in range(4)])
    group(store, 0, 1, 2, 3)
    found = decisions(store, recipe([top(0.5)], best=["caption_words"], dedup=DEDUP))
    assert reasons(found) == {0: "top", 1: "top", 2: None, 3: "duplicate"}


def test_no_dedup_means_no_duplicates(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(0), sample(1)])
    group(store, 0, 1)
    assert kept(decisions(store, recipe())) == [0, 1]
    store.remove("groups/duplicates.parquet")
    with pytest.raises(WrongData, match=r"groups/duplicates\.parquet is missing"):
        decisions(store, recipe(dedup=DEDUP))


# ------------------------------------------------------------------------------------------- the whole


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """1,500 rows in parts of 200, with ties, nulls and groups of three."""
    samples = [
        sample(
            i,
            image=b"x",
            clip_score=None if i % 17 == 0 else (i * 7919 % 101) / 100,
            caption_words=i % 13,
            language=["en", "de", None][i % 3],
        )
        for i in range(1500)
    ]
    store = build(tmp_path_factory.mktemp("large"), samples, part_rows=200)
    rows = [
        {"sample_id": sid(i), "group": sid(i - i % 3), "kind": "near", "distance": 1.0, "linked_to": sid(i - i % 3)}
        for i in range(600)
    ]
    write_duplicates(store, rows)
    return store


RULES = [
    rule("short", "caption_words > 2"),
    top(0.6, per="language"),
    rule("low", "clip_score > 0.45"),
    quantile(0.05, 0.95),
]


def test_rerun_is_byte_identical_with_any_number_of_threads(large: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import stages.select.decide as module

    hashes = set()
    for threads in (1, 2, 8):
        monkeypatch.setattr(module, "connect", lambda n=threads: _connect(n))
        decisions(large, recipe(RULES, best=["clip_score desc"], dedup=DEDUP))
        hashes.add(large.sha256(SELECTION))
    assert len(hashes) == 1


def _connect(threads: int) -> duckdb.DuckDBPyConnection:
    from stages.sql import connect

    return connect(threads=threads)


def test_decisions_are_what_a_plain_loop_decides(large: Store) -> None:
    found = decisions(large, recipe(RULES, best=["clip_score desc"], dedup=DEDUP))
    assert reasons(found) == _by_hand()
    assert {"short", "top", "low", "mid", "duplicate", None} == set(reasons(found).values())


def _by_hand() -> dict[int, str | None]:
    import numpy as np

    score = {i: None if i % 17 == 0 else float(np.float32((i * 7919 % 101) / 100)) for i in range(1500)}
    out: dict[int, str | None] = {i: "short" if i % 13 <= 2 else None for i in range(1500)}
    for group_ in range(3):
        rows = [i for i in out if out[i] is None and i % 3 == group_]
        values = sorted((v for i in rows if (v := score[i]) is not None), reverse=True)
        cut = values[int(np.ceil(0.6 * len(values) - 1e-9)) - 1]
        out |= {i: "top" for i in rows if (v := score[i]) is None or v < cut}
    out |= {i: "low" for i in out if out[i] is None and not (score[i] or 0) > 0.45}
    rows = [i for i in out if out[i] is None]
    values = sorted(v for i in rows if (v := score[i]) is not None)
    drop = int(0.05 * len(values) + 1e-9)
    out |= {i: "mid" for i in rows if not values[drop] <= (score[i] or 0) <= values[len(values) - 1 - drop]}
    for first in range(0, 600, 3):
        alive = [i for i in range(first, first + 3) if out[i] is None]
        for i in sorted(alive, key=lambda i: (-(score[i] or 0), i))[1:]:
            out[i] = "duplicate"
    return out


def test_a_family_with_other_rows_is_named(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(i) for i in range(4)], part_rows=2)
    table = store.read_table("measures/clip/00001.parquet")
    seal = store.seal("measures/clip/00001.parquet")
    assert seal is not None
    store.write_table("measures/clip/00001.parquet", table.take([1, 0]), seal)
    with pytest.raises(WrongData, match=r"measures/clip/00001\.parquet holds other rows"):
        decisions(store, recipe())


def test_an_empty_build_decides_nothing(tmp_path: Path) -> None:
    assert decisions(build(tmp_path, []), recipe([top(0.5)])) == {}
