"""The score of a build against the truth, on hand-made fates whose figures can be counted."""

import json
import math

import numpy as np
import pytest

from bench import harness
from bench.__main__ import BENCHMARKS, main
from bench.truth import Fate, caption_rows, duplicate_rows, reason_rows, swapped_threshold, trouble_rows
from pipelines.sample_web.clip_eval import auc, precision_recall, threshold_at_precision


def _fate(trouble: str = "none", reason: str | None = None, score: float | None = 0.5, **more) -> Fate:
    told = {
        "trouble": trouble, "expected_reason": more.pop("expected", None), "also_expected": more.pop("also", []),
        "duplicate_group": more.pop("planted", None), "duplicate_kind": more.pop("kind", None),
        "swapped": trouble == "swapped", "hard_kind": more.pop("hard", None), "scene_seed": more.pop("scene", 1),
    }  # fmt: skip
    return Fate(told, more.pop("name", "s"), reason, more.pop("threshold", None), score, more.pop("group", None))


def test_a_row_ends_as_expected_by_its_reason_or_an_equal_one_or_kept():
    assert _fate("gone_404", "http_status", expected="http_status").as_expected
    assert _fate("svg", "not_an_image", expected="unsupported_format", also=["not_an_image"]).as_expected
    assert not _fate("gone_404", "timeout", expected="http_status").as_expected
    assert not _fate("gone_404", None, expected="http_status").as_expected
    assert _fate("none").as_expected
    assert not _fate("none", "timeout").as_expected


def test_only_a_planted_group_may_end_as_duplicate():
    assert _fate("none", "duplicate", planted="g").as_expected
    assert not _fate("none", "duplicate").as_expected


def test_trouble_and_reason_lines_count():
    fates = [
        _fate("gone_404", "http_status", expected="http_status"),
        _fate("gone_404", "timeout", expected="http_status"),
        _fate("none", "http_status"),
    ]
    lines = {line["what"]: line for line in trouble_rows(fates)}
    assert (lines["gone_404"]["recall"], lines["gone_404"]["otherwise"]) == (0.5, "timeout 1")
    assert (lines["none"]["recall"], lines["none"]["otherwise"]) == (0.0, "http_status 1")
    reasons = {line["what"]: line for line in reason_rows(fates)}
    assert (reasons["reason http_status"]["precision"], reasons["reason http_status"]["otherwise"]) == (0.5, "none 1")


def test_captions_are_scored_against_clean_ones_and_hard_ones_apart():
    fates = [
        *[_fate(score=0.8) for _ in range(9)], _fate(score=0.1),  # one clean pair scores low
        *[_fate("swapped", score=0.0, expected="low_clip") for _ in range(3)], _fate("swapped", score=0.9),
        _fate("hard_caption", score=0.4, hard="colour"), _fate("hard_caption", score=0.9, hard="count"),
        _fate("caption_symbols", score=-1.0), _fate("gone_404", score=None),
    ]  # fmt: skip
    lines = {line["what"]: line for line in caption_rows(fates, 0.3, 0.5)}
    assert (lines["caption swapped"]["recall"], lines["caption swapped"]["precision"]) == (0.75, 0.75)
    assert (lines["caption hard, all"]["recall"], lines["caption hard, all"]["precision"]) == (0.5, 0.5)
    assert lines["caption hard: colour"]["recall"] == 1.0
    assert lines["caption hard: count"]["recall"] == 0.0


def test_the_swapped_threshold_is_the_one_that_rejected_swapped_rows():
    fates = [
        _fate("swapped", "low_clip", expected="low_clip", threshold=0.31),
        _fate("swapped", "low_clip", expected="low_clip", threshold=0.31),
        _fate("swapped", "too_small", expected="low_clip", threshold=64.0),
    ]
    assert swapped_threshold(fates) == 0.31
    assert math.isnan(swapped_threshold([_fate()]))


def test_duplicates_are_scored_by_pair_and_survivor():
    fates = [
        _fate(planted="a", kind="original", group="G1", scene=1),
        _fate("exact_duplicate", "duplicate", planted="a", kind="exact", group="G1", scene=1),
        _fate(planted="b", kind="original", group="G2", scene=2),
        _fate("near_crop", None, planted="b", kind="near", scene=2),  # missed
        _fate("none", "duplicate", group="G2", scene=3),  # a false pair
    ]
    lines, facts = duplicate_rows(fates)
    recall = {line["what"]: line["recall"] for line in lines if line["rows"]}
    assert recall == {"duplicate exact_duplicate": 1.0, "duplicate near_crop": 0.0, "duplicate near, all": 0.0}
    assert facts["false duplicate pairs"] == 1
    assert (facts["groups with one survivor"], facts["groups with several survivors"]) == (1, 1)


def test_a_threshold_reaches_its_precision_and_not_more():
    clean, wrong = np.array([0.2, 0.6, 0.7, 0.8]), np.array([0.0, 0.1, 0.3, 0.4, 0.5, 0.65])
    at = threshold_at_precision(clean, wrong, 0.8)
    assert 0.5 < at < 0.6
    assert precision_recall(clean, wrong, at) == (pytest.approx(5 / 6), pytest.approx(5 / 6))
    strict = threshold_at_precision(clean, wrong, 1.0)
    assert precision_recall(clean, wrong, strict) == (1.0, pytest.approx(2 / 6))
    assert threshold_at_precision(np.array([0.0]), np.array([1.0]), 0.9) == -1.0


def test_a_rare_error_needs_a_lower_threshold_for_the_same_precision():
    rng = np.random.default_rng(0)
    clean, wrong = rng.normal(1, 0.3, 4000), rng.normal(0, 0.3, 4000)
    even, rare = (threshold_at_precision(clean, wrong, 0.95, share) for share in (0.5, 0.02))
    assert rare < even
    assert precision_recall(clean, wrong, rare, 0.02)[0] == pytest.approx(0.95, abs=0.01)


def test_auc_is_the_chance_of_the_right_order():
    assert auc(np.array([1.0, 2.0]), np.array([0.0, 1.5])) == 0.75


def test_a_report_is_written_twice_with_its_circumstances(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    harness.report("thing", [{"a": 1, "b": 0.25}, {"a": 2}], {"total": 3})
    record = json.loads((tmp_path / "results" / "thing.json").read_text())
    assert record["rows"] == [{"a": 1, "b": 0.25}, {"a": 2}]
    assert record["facts"] == {"total": 3}
    assert record["machine"] and record["date"] and record["versions"]["pyarrow"]
    text = (tmp_path / "results" / "thing.md").read_text()
    assert "| 1 | 0.25 |" in text and "- total: 3" in text
    assert "| 1 | 0.25 |" in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys):
    assert main(["nothing"]) == 2
    said = capsys.readouterr().err
    assert "'nothing'" in said and all(name in said for name in BENCHMARKS)
