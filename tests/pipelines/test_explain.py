"""One sample's story."""

import json
from pathlib import Path

import pytest

from pipelines.explain import explain, story
from schemas.errors import WrongRequest
from stages.store import Store
from tests.builders import Rejected, build, sample, sid, write_duplicates
from tests.finished import finished, index_of, mixed


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    samples, deselected = mixed(20)
    for i in (6, 16):
        samples[i]["url"] = "http://twice.test/x.png"
    samples[7]["caption"] = "a\x1b[2Jb"
    made = finished(tmp_path_factory.mktemp("explain"), samples, deselected)
    link = {"group": sid(5), "kind": "near", "distance": 12.0}
    links = [{"sample_id": sid(a), "linked_to": sid(b), **link} for a, b in ((5, 8), (8, 5))]
    write_duplicates(made, links)
    return made


def test_kept_sample_is_told_from_pool_row_to_shard(store: Store) -> None:
    said = explain(store, sid(8))
    assert (said["part"], said["row"], said["pool"]["source_row"]) == (2, 0, 8)
    assert (said["download"]["http_status"], said["download"]["reason"]) == (200, None)
    assert said["measures"]["clip"]["clip_score"] == 0.3
    assert "clip_image" not in said["measures"]["clip"]
    assert said["decision"]["kept"] is True
    place = next(row for row in index_of(store) if row["sample_id"] == sid(8))
    assert (said["shard"]["shard"], said["shard"]["position"]) == (place["shard"], place["position"])
    assert json.loads(json.dumps(said)) == said
    assert f"shard            {place['shard']}" in story(said)


def test_duplicate_is_told_with_its_group_and_survivor(store: Store) -> None:
    said = explain(store, sid(5))
    group = said["duplicates"]
    assert (group["kind"], group["distance"], group["linked_to"], group["survivor"]) == ("near", 12.0, sid(8), sid(8))
    assert group["members"] == [{"sample_id": sid(8), "kept": True}, {"sample_id": sid(5), "kept": False}]
    assert said["shard"] is None
    assert f"survivor         {sid(8)}" in story(said)


def test_rejection_is_told_with_value_and_threshold(store: Store) -> None:
    assert "rejected by select: dull, 0.1 against 0.28 (clip_score >= 0.28)" in story(explain(store, sid(4)))
    assert "rejected by download: http_status, 404" in story(explain(store, sid(10)))


def test_a_sample_is_found_by_beginning_url_and_place_in_a_shard(store: Store) -> None:
    place = index_of(store)[1]
    wanted = place["sample_id"]
    shard = place["shard"].removesuffix(".tar")
    for what in (f"{shard}/1", f"{shard}.tar/1", f"shards/{shard}.tar/1", place["key"]):
        assert explain(store, what)["sample_id"] == wanted
    assert explain(store, "http://host.test/11.png")["sample_id"] == sid(11)
    assert explain(store, sid(18)[:31] + "2")["sample_id"] == sid(18)


def test_a_beginning_is_enough_when_it_is_of_one_sample(tmp_path: Path) -> None:
    samples = [sample(0), sample(1)]
    samples[1]["sample_id"] = "ab" * 16
    assert explain(build(tmp_path, samples), "ab")["sample_id"] == "ab" * 16


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("000", f"'000' is the beginning of several samples: {sid(0)}, .*…; name one"),
        ("http://twice.test/x.png", f"the URL of several samples: {sid(6)}, {sid(16)}; name one"),
        ("beef", "no sample_id begins with 'beef'"),
        ("http://nowhere.test/", "no row of the pool has the URL"),
        ("train-000000/4000", "no sample lies at train-000000/4000"),
        ("'; DROP TABLE pool; --", "no row of the pool has the URL"),
        ("", "no row"),
    ],
)
def test_what_names_no_sample_or_several_is_a_wrong_request(store: Store, what: str, message: str) -> None:
    with pytest.raises(WrongRequest, match=message):
        explain(store, what)


def test_story_obeys_no_escape_sequence(store: Store) -> None:
    text = story(explain(store, sid(7)))
    assert "\x1b" not in text
    assert "a\\x1b[2Jb" in text


def test_a_build_under_way_is_told_as_far_as_it_is(tmp_path: Path) -> None:
    samples = [sample(0), sample(1, rejected=Rejected("download", "timeout"))]
    store = build(tmp_path, samples, families=["pool", "parts"])
    said = explain(store, sid(0))
    assert (said["measures"], said["decision"], said["shard"], said["duplicates"]) == ({}, None, None, None)
    assert "select has not run" in story(said)
    assert explain(store, sid(1))["decision"]["reason"] == "timeout"


def test_a_part_not_yet_fetched_is_told_as_such(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(i) for i in range(4)], part_rows=2, families=["pool", "parts"])
    store.remove("parts/00001.parquet")
    said = explain(store, sid(3))
    assert said["download"] is None
    assert "download\n  not there yet" in story(said)
