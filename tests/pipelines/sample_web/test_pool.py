"""The pool holds what was planned, tells nothing of the truth, and its truth is true."""

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.sample_web.payloads import Payload, encode
from pipelines.sample_web.pool import SampleWeb, write_pool
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.site import read_site
from pipelines.sample_web.troubles import EXPECTED, PER_THOUSAND, Trouble, planned


@pytest.fixture(scope="module")
def truth(small_web: SampleWeb) -> list[dict]:
    return pq.read_table(small_web.truth).to_pylist()


@pytest.fixture(scope="module")
def pool(small_web: SampleWeb) -> list[dict]:
    return pq.read_table(small_web.pool).to_pylist()


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        web = write_pool(tmp_path / name, rows=200, seed=seed)
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in (web.pool, web.truth, web.site)])
    assert digests[0] == digests[1]
    assert all(a != c for a, c in zip(digests[0], digests[2], strict=True))


def test_too_few_rows_are_refused_with_the_least_that_serves(tmp_path):
    with pytest.raises(ValueError, match="at least 200"):
        write_pool(tmp_path, rows=100)


def test_every_trouble_is_planted_as_often_as_planned(truth: list[dict]):
    assert Counter(r["trouble"] for r in truth) == {str(t): n for t, n in planned(260).items()}
    assert set(PER_THOUSAND) | {Trouble.none} == set(Trouble)


def test_pool_and_truth_agree_row_by_row_and_the_pool_tells_nothing(pool: list[dict], truth: list[dict]):
    assert [(r["url"], r["caption"]) for r in pool] == [(r["url"], r["caption"]) for r in truth]
    assert set(pool[0]) == {
        "url", "caption", "source_id", "language", "sha256", "boxes", "license", "width", "height",
    }  # fmt: skip


def test_expected_reasons_follow_the_trouble(truth: list[dict]):
    for row in truth:
        expected = EXPECTED[Trouble(row["trouble"])]
        assert (row["expected_stage"], row["expected_reason"]) == (expected.stage, expected.reason)


def test_of_two_equal_rows_the_later_one_is_the_repetition(pool: list[dict], truth: list[dict]):
    seen: set[tuple] = set()
    for p, t in zip(pool, truth, strict=True):
        key = (p["source_id"], p["url"], p["caption"])
        assert (key in seen) == (t["trouble"] == "repeated_row")
        seen.add(key)


def test_urls_are_distinct_but_for_repetitions_and_missing_ones(truth: list[dict]):
    urls = [r["url"] for r in truth if r["url"] and r["trouble"] not in ("repeated_row", "url_malformed")]
    assert len(urls) == len(set(urls))


def test_groups_hold_one_scene_and_exact_ones_the_same_bytes(small_web: SampleWeb, truth: list[dict]):
    pages, groups = read_site(small_web.folder), defaultdict(list)
    for row in truth:
        if row["duplicate_group"] and row["trouble"] != "repeated_row":
            groups[row["duplicate_group"]].append(row)
    assert groups
    for members in groups.values():
        assert len({m["scene_seed"] for m in members}) == 1
        assert len(members) >= 2
        kinds = Counter(m["duplicate_kind"] for m in members)
        assert kinds["original"] == 1
        bodies = {m["duplicate_kind"]: encode(_payload(pages[m["url"]])) for m in members}
        if "exact" in bodies:
            assert bodies["exact"] == bodies["original"]
        if "near" in bodies:
            assert bodies["near"] != bodies["original"]
    ungrouped = Counter(r["scene_seed"] for r in truth if not r["duplicate_group"] and r["trouble"] != "repeated_row")
    assert max(ungrouped.values()) == 1


def _payload(page) -> Payload:
    assert page.payload is not None
    return page.payload


def test_a_swapped_original_has_a_copy_with_the_right_caption(truth: list[dict]):
    groups = defaultdict(list)
    for row in truth:
        groups[row["duplicate_group"]].append(row)
    misled = [m for g, m in groups.items() if g and any(r["swapped"] for r in m)]
    assert misled
    for members in misled:
        good = [r for r in members if not r["swapped"]]
        assert good
        assert all(r["caption"] == r["true_caption"] for r in good)


def test_promised_sha256_are_right_or_wrong_as_planted(small_web: SampleWeb, pool: list[dict], truth: list[dict]):
    pages = read_site(small_web.folder)
    for p, t in zip(pool, truth, strict=True):
        if t["trouble"] in ("right_sha256", "wrong_sha256"):
            found = hashlib.sha256(encode(_payload(pages[p["url"]]))).hexdigest()
            assert (found == p["sha256"]) == (t["trouble"] == "right_sha256")
        elif t["trouble"] != "repeated_row":
            assert p["sha256"] is None


def test_boxes_of_the_pool_are_those_of_the_scene(pool: list[dict], truth: list[dict]):
    checked = 0
    for p, t in zip(pool, truth, strict=True):
        if p["boxes"] is None or t["edit"] != "none":
            continue
        scene = make_scene(t["scene_seed"])
        assert [(b["x"], b["y"], b["w"], b["h"]) for b in p["boxes"]] == [tuple(b) for b in scene.boxes()]
        assert [b["label"] for b in p["boxes"]] == [o.label for o in scene.objects]
        assert json.loads(t["scene"])["counts"] == Counter(b["label"] for b in p["boxes"])
        checked += 1
    assert checked > 30


def test_more_boxes_change_nothing_else(tmp_path: Path, small_web: SampleWeb) -> None:
    every = write_pool(tmp_path, rows=small_web.rows, seed=small_web.seed, boxed=1.0)
    few, all_of_them = (pq.read_table(web.pool) for web in (small_web, every))
    assert few.drop_columns(["boxes"]).equals(all_of_them.drop_columns(["boxes"]))
    shown = pq.read_table(every.truth)["scene"].is_valid()
    assert all_of_them["boxes"].is_valid().equals(shown) and not few["boxes"].is_valid().equals(shown)
