"""What other rules would keep: the counts of a real decision, the marginal band, and nothing written."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.whatif import Change, ReasonLine, changed, whatif
from schemas.errors import WrongData, WrongRequest
from schemas.recipe import ClipConfig, DedupConfig, MeasureConfig, PdqConfig, PoolConfig, Recipe, SelectConfig
from schemas.rules import Rule
from stages.select.decide import decide
from stages.store import Store
from tests.builders import Rejected, build, sample, sid, write_duplicates

RULES = [
    Rule(reason="short", keep="caption_words > 1"),
    Rule(reason="low_clip", keep="clip_score >= 0.5"),
]


def recipe(rules: list[Rule] | None = None, dedup: bool = False) -> Recipe:
    return Recipe(
        name="test",
        pool=PoolConfig(paths=["x"]),
        measure=MeasureConfig(pdq=PdqConfig(), clip=ClipConfig(model="m")),
        select=SelectConfig(rules=RULES if rules is None else rules, best=["clip_score desc"]),
        dedup=DedupConfig() if dedup else None,
    )


class Origin:
    identity = {"stage": "select"}
    inputs: dict[str, str] = {}
    fingerprint = "f"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """clip_score i/16 for sample i = 0–15; 12 has one word, 5 no image."""
    samples = [
        sample(i, clip_score=i / 16, **({"caption_words": 1} if i == 12 else {}))
        if i != 5
        else sample(5, rejected=Rejected("download", "http_error"))
        for i in range(16)
    ]
    return build(tmp_path, samples, part_rows=5)


def test_counts_and_reasons_are_those_of_a_real_decision(store: Store) -> None:
    decide(store, recipe(), 4, Origin())
    found = whatif(store, recipe(), "clip_score >= 0.25")
    assert (found.inputs, found.kept_now, found.kept_then) == (16, 7, 10)
    assert (found.newly_kept, found.newly_rejected) == (3, 0)
    assert found.reasons == [
        ReasonLine("download", "http_error", 1, 1),
        ReasonLine("select", "low_clip", 7, 4),
        ReasonLine("select", "short", 1, 1),
    ]
    assert found.changes == ["low_clip: clip_score >= 0.5 → clip_score >= 0.25"]
    then = recipe([RULES[0], Rule(reason="low_clip", keep="clip_score >= 0.25")])
    assert decide(store, then, 4, Origin()) == found.kept_then


def test_without_a_selection_now_is_what_the_recipe_decides(store: Store) -> None:
    found = whatif(store, recipe(), "clip_score >= 0.75")
    assert (found.kept_now, found.kept_then, found.newly_rejected) == (7, 3, 4)


def test_the_marginal_band_is_nearest_the_threshold_on_both_sides(store: Store) -> None:
    found = whatif(store, recipe(), "clip_score >= 0.4", limit=2)
    assert [(m.sample_id, m.value, m.threshold, m.kept) for m in found.marginal] == [
        (sid(4), 4 / 16, 0.4, False),
        (sid(6), 6 / 16, 0.4, False),
        (sid(7), 7 / 16, 0.4, True),
        (sid(8), 8 / 16, 0.4, True),
    ]
    assert (found.marginal[0].url, found.marginal[0].caption) == ("http://host.test/4.png", "caption 4")


def test_what_another_rule_rejects_is_not_marginal(store: Store) -> None:
    found = whatif(store, recipe(), "clip_score >= 0.75", limit=20)
    assert sid(12) not in [m.sample_id for m in found.marginal]
    assert len(found.marginal) == 14


def test_a_condition_without_a_number_has_no_band(store: Store) -> None:
    assert whatif(store, recipe(), "caption like 'caption 1%'").marginal == []


def test_a_condition_over_other_columns_is_added(store: Store) -> None:
    found = whatif(store, recipe(), "width > 16")
    assert found.changes == ["whatif added: width > 16"]
    assert (found.kept_now, found.kept_then) == (7, 0)
    assert ReasonLine("select", "whatif", 0, 7) in found.reasons


def test_replace_and_drop(store: Store) -> None:
    assert whatif(store, recipe(), Change("width > 16", replace="low_clip")).kept_then == 0
    found = whatif(store, recipe(), Change(drop=("short",)))
    assert (found.newly_kept, found.newly_rejected, found.changes) == (1, 0, ["short dropped"])
    assert whatif(store, recipe(), Change(drop=("short", "low_clip"))).kept_then == 15
    both = whatif(store, recipe(), Change("clip_score >= 0.25", drop=("short",)))
    assert (both.kept_then, both.changes[0]) == (11, "short dropped")


def test_a_group_changes_its_survivor_with_the_rules(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(0, clip_score=0.75), sample(1, clip_score=0.25)])
    link = {"group": sid(0), "kind": "near", "distance": 1.0}
    write_duplicates(store, [{"sample_id": sid(i), "linked_to": sid(1 - i), **link} for i in range(2)])
    of = recipe(dedup=True)
    found = whatif(store, of, "clip_score < 0.5")
    assert found.reasons == [ReasonLine("select", "low_clip", 1, 1)]
    assert (found.kept_now, found.kept_then, found.newly_kept, found.newly_rejected) == (1, 1, 1, 1)


def test_nothing_is_written(store: Store) -> None:
    decide(store, recipe(), 4, Origin())
    before = {name: store.sha256(name) for name in store.walk()}
    whatif(store, recipe(), "clip_score >= 0.1")
    assert {name: store.sha256(name) for name in store.walk()} == before


@pytest.mark.parametrize(
    ("change", "matter"),
    [
        (Change(), "nothing is changed"),
        (Change("clip_score > 1", replace="low"), "no rule is called 'low'; the rules are: short, low_clip"),
        (Change(drop=("low",)), "no rule is called 'low'"),
        (Change(replace="low_clip"), "nothing replaces 'low_clip'"),
        (Change("clip_scor > 1"), "did you mean 'clip_score'"),
        (Change("clip score"), "is not one SQL condition"),
    ],
)
def test_wrong_requests(change: Change, matter: str, store: Store) -> None:
    with pytest.raises(WrongRequest, match=matter):
        whatif(store, recipe(), change)


def test_a_build_that_is_not_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="holds no build"):
        whatif(Store(str(tmp_path / "no")), recipe(), "clip_score > 0.1")
    store = build(tmp_path, [sample(0)], families=["pool", "parts"])
    with pytest.raises(WrongData, match=r"measures/image/00000\.parquet is missing"):
        whatif(store, recipe(), "clip_score > 0.1")


def test_two_rules_over_the_same_columns_are_not_guessed_between() -> None:
    rules = [Rule(reason="low", keep="clip_score > 0.1"), Rule(reason="high", keep="clip_score < 0.9")]
    then, reason, _ = changed(recipe(rules), Change("clip_score > 0.2"))
    assert (reason, [r.reason for r in then.select.rules]) == ("whatif", ["low", "high", "whatif"])


def test_the_answer_is_plain_json(store: Store) -> None:
    import json

    data: dict[str, Any] = json.loads(json.dumps(whatif(store, recipe(), "clip_score >= 0.4").as_json()))
    assert data["kept_then"] == 8
    assert data["reasons"][0] == {"stage": "download", "reason": "http_error", "now": 1, "then": 1}
