"""Shards: who goes where, which bytes, and that they are written once."""

import io
import json
import pickle
import tarfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import WrongData
from schemas.recipe import ShardConfig
from stages.shard.assign import ShardOrder, assign, splits_of
from stages.shard.run import begin, finish, is_done, make_shards
from stages.shard.write import ShardReceipt, write_shard
from stages.store import Store
from tests.builders import Rejected, png, sample, sid
from tests.finished import index_of, recipe, selected, sharded

LATIN = "élan 海 🙂"


def _hashes(store: Store) -> dict[str, str]:
    return {name: store.sha256(name) for name in store.walk() if name.startswith("shards/")}


def _members(store: Store, shard: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(store.read_bytes(f"shards/{shard}.tar"))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def test_every_kept_sample_is_in_exactly_one_shard_and_no_other_is(tmp_path: Path) -> None:
    samples = [sample(i, rejected=Rejected("download", "timeout") if i % 5 == 0 else None) for i in range(30)]
    store = sharded(selected(tmp_path, samples, {7: Rejected("select", "dull")}), recipe())
    kept = sorted(row["sample_id"] for row in index_of(store))
    assert kept == [sid(i) for i in range(30) if i % 5 and i != 7]


def test_members_are_the_stored_image_the_caption_and_a_json_of_every_column(tmp_path: Path) -> None:
    boxes = [{"label": "cat", "x": 0.1, "y": 2.0, "w": 3.5, "h": 4.0}]
    one = sample(
        3,
        caption=LATIN,
        extra='{"b":[1,null],"a":{"x":"ü"}}',
        boxes=boxes,
        language="fr",
        clip_score=0.3,
        std_luma=float("nan"),
        orientation=6,
    )
    store = sharded(selected(tmp_path, [one]), recipe())
    members = _members(store, "train-000000")
    assert list(members) == [f"{sid(3)}.json", f"{sid(3)}.png", f"{sid(3)}.txt"]
    assert members[f"{sid(3)}.png"] == png(3)
    assert members[f"{sid(3)}.txt"].decode() == LATIN
    said = json.loads(members[f"{sid(3)}.json"])
    assert list(said) == sorted(said)
    assert LATIN.encode() in members[f"{sid(3)}.json"]
    expected = {
        "sample_id": sid(3),
        "source": "pool.parquet",
        "source_row": 0,
        "url": "http://host.test/3.png",
        "final_url": "http://host.test/3.png",
        "part": 0,
        "row": 0,
        "width": 16,
        "height": 16,
        "orientation": 6,
        "caption": LATIN,
        "language": "fr",
        "boxes": boxes,
        "extra": {"a": {"x": "ü"}, "b": [1, None]},
        "split": "train",
        "clip_score": 0.3,
        "std_luma": None,
        "pdq_quality": 100,
        "image_width": 16,
        "caption_words": 2,
    }
    assert {name: said[name] for name in expected} == expected
    assert said["sha256"] == said["stored_sha256"]
    assert len(said["pdq"]) == 64
    assert not {"clip_image", "clip_text", "offset", "member"} & set(said)


def test_index_offsets_point_at_the_bytes(tmp_path: Path) -> None:
    store = sharded(selected(tmp_path, [sample(i) for i in range(9)]), recipe())
    for row in index_of(store):
        tar = store.read_bytes(f"shards/{row['shard']}")
        image = tar[row["image_offset"] : row["image_offset"] + row["image_size"]]
        document = json.loads(tar[row["json_offset"] : row["json_offset"] + row["json_size"]])
        caption = tar[row["txt_offset"] : row["txt_offset"] + row["txt_size"]].decode()
        assert image == png(int(row["sample_id"], 16))
        assert (document["sample_id"], document["caption"]) == (row["sample_id"], caption)


def test_tar_is_byte_for_byte_what_webdataset_writes(tmp_path: Path) -> None:
    import webdataset

    store = sharded(selected(tmp_path / "b", [sample(i) for i in range(4)]), recipe())
    members = _members(store, "train-000000")
    peer = tmp_path / "peer.tar"
    with peer.open("wb") as f, webdataset.TarWriter(f, user="", group="", mode=0o444, mtime=0, encoder=False) as tar:
        for key in dict.fromkeys(name.split(".")[0] for name in members):
            tar.write({"__key__": key, **{ext: members[f"{key}.{ext}"] for ext in ("png", "json", "txt")}})
    assert peer.read_bytes() == store.read_bytes("shards/train-000000.tar")


def test_two_builds_have_the_same_bytes(tmp_path: Path) -> None:
    samples = [sample(i) for i in range(23)]
    first = sharded(selected(tmp_path / "a", samples), recipe(val_share=0.3))
    second = sharded(selected(tmp_path / "b", samples), recipe(val_share=0.3))
    assert _hashes(first) == _hashes(second)


def test_shards_of_an_object_store_have_the_same_bytes(tmp_path: Path) -> None:
    samples = [sample(i) for i in range(11)]
    near = sharded(selected(tmp_path / "a", samples), recipe())
    far = sharded(selected("memory://shards-far", samples), recipe())
    assert _hashes(near) == _hashes(far)


def test_order_is_global_and_depends_on_the_seed(tmp_path: Path) -> None:
    store = selected(tmp_path, [sample(i) for i in range(200)], part_rows=10)
    orders = []
    for seed in (0, 1):
        sharded(store, recipe(seed=seed, max_samples=50))
        orders.append([int(row["sample_id"], 16) for row in index_of(store)])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(200))
    assert orders[0] != orders[1]
    for order in orders:
        parts_of_a_shard = [len({i // 10 for i in order[at : at + 50]}) for at in range(0, 200, 50)]
        assert min(parts_of_a_shard) > 15  # of 20; a shuffle inside parts or of parts would give 5
        neighbours = sum(a // 10 == b // 10 for a, b in pairwise(order))
        assert neighbours < 30  # 10 expected of a random order, 180 of an unshuffled one


def test_split_of_a_sample_depends_on_its_id_alone(tmp_path: Path) -> None:
    def val(path: Path, numbers: range, **config: object) -> set[str]:
        store = sharded(selected(path, [sample(i) for i in numbers], part_rows=200), recipe(max_samples=1000, **config))
        rows = index_of(store)
        settings = ShardConfig(**config)  # type: ignore[arg-type]
        assert [row["split"] for row in rows] == splits_of([row["sample_id"] for row in rows], settings)
        return {row["sample_id"] for row in rows if row["split"] == "val"}

    whole = val(tmp_path / "a", range(400), val_share=0.25)
    assert 70 < len(whole) < 130
    assert val(tmp_path / "b", range(400), val_share=0.25, seed=9) == whole
    assert val(tmp_path / "c", range(200), val_share=0.25) == {s for s in whole if int(s, 16) < 200}
    assert whole < val(tmp_path / "d", range(400), val_share=0.5)
    assert not val(tmp_path / "e", range(50), val_share=0.0)
    assert len(val(tmp_path / "f", range(50), val_share=1.0)) == 50


def test_max_samples_and_max_bytes_close_a_shard_before_it_exceeds(tmp_path: Path) -> None:
    samples = [sample(i, image=bytes([i]) * (1000 if i else 5000)) for i in range(20)]
    store = sharded(selected(tmp_path, samples), recipe(max_samples=4, max_bytes=3500))
    shards: dict[str, list[int]] = {}
    for row in index_of(store):
        shards.setdefault(row["shard"], []).append(row["image_size"])
    assert [5000] in shards.values()  # larger than a shard: alone
    assert all(sum(sizes) <= 3500 for sizes in shards.values() if sizes != [5000])
    assert sorted(len(s) for s in shards.values())[-4:] == [3, 3, 3, 3]
    assert sum(len(s) for s in shards.values()) == 20


def test_shards_that_are_right_are_not_written_again(tmp_path: Path) -> None:
    store = sharded(selected(tmp_path, [sample(i) for i in range(20)]), recipe())
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "shards").glob("*.tar")}
    (tmp_path / "shards/train-000002.tar").unlink()
    assert not is_done(store, "test")
    receipts = make_shards(store, recipe(), 5, ("test", {}))
    assert [r.name for r in receipts if r.written] == ["train-000002"]
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "shards").glob("*.tar")}
    assert {n for n in before if before[n] != after[n]} == {"train-000002.tar"}
    assert is_done(store, "test")
    assert not is_done(store, "another")


def test_a_changed_measure_rewrites_its_shard_alone(tmp_path: Path) -> None:
    samples = [sample(i) for i in range(20)]
    store = sharded(selected(tmp_path, samples), recipe())
    wanted = next(row["shard"] for row in index_of(store) if row["sample_id"] == sid(11))
    samples[11] = sample(11, mean_luma=1.0)
    selected(tmp_path, samples)
    receipts = make_shards(store, recipe(), 5, ("test", {}))
    assert [f"{r.name}.tar" for r in receipts if r.written] == [wanted]


def test_shards_of_a_larger_build_and_order_files_are_removed(tmp_path: Path) -> None:
    store = sharded(selected(tmp_path, [sample(i) for i in range(20)]), recipe(max_samples=2))
    sharded(store, recipe(max_samples=10))
    names = [n for n in store.walk() if n.startswith(("shards/", "orders/"))]
    assert names == [
        "shards/index.parquet",
        *(f"shards/train-00000{i}.{ext}" for i in (0, 1) for ext in ("parquet", "tar")),
    ]


def test_nothing_kept_is_no_shard_and_an_empty_index(tmp_path: Path) -> None:
    store = sharded(selected(tmp_path, [sample(0, rejected=Rejected("download", "timeout"))]), recipe())
    assert index_of(store) == []
    assert [n for n in store.walk() if n.startswith("shards/")] == ["shards/index.parquet"]


def test_work_travels_pickled_and_in_any_order(tmp_path: Path) -> None:
    def elsewhere(work: Any, orders: list[ShardOrder]) -> list[ShardReceipt]:
        return [pickle.loads(pickle.dumps(work))(pickle.loads(pickle.dumps(order))) for order in reversed(orders)]

    store = selected(tmp_path / "a", [sample(i) for i in range(12)])
    make_shards(store, recipe(), 3, ("test", {}), elsewhere)
    alone = sharded(selected(tmp_path / "b", [sample(i) for i in range(12)]), recipe())
    assert _hashes(store) == _hashes(alone)


def test_image_that_is_not_what_its_index_says_stops_the_shard(tmp_path: Path) -> None:
    store = selected(tmp_path, [sample(i) for i in range(4)])
    tar = tmp_path / "parts/00000.tar"
    data = bytearray(tar.read_bytes())
    data[512 + 40] ^= 1  # inside the first member's data
    tar.write_bytes(data)
    with pytest.raises(WrongData, match=f"sample {sid(0)}.*parts/00000.tar"):
        sharded(store, recipe())
    assert [n for n in store.walk() if n.startswith("shards/")] == []


def test_missing_payload_tar_is_named(tmp_path: Path) -> None:
    for url in (str(tmp_path / "b"), "memory://shards-missing"):
        store = selected(url, [sample(i) for i in range(8)])
        store.remove("parts/00001.tar")
        with pytest.raises(WrongData, match=r"parts/00001\.tar is missing"):
            sharded(store, recipe())


def test_selection_of_other_rows_is_refused(tmp_path: Path) -> None:
    store = selected(tmp_path / "a", [sample(i) for i in range(8)])
    other = selected(tmp_path / "b", [sample(i) for i in range(4)])
    store.write_bytes("selection.parquet", other.read_bytes("selection.parquet"))
    with pytest.raises(WrongData, match=r"selection\.parquet is not about the rows of part 00001"):
        assign(store, recipe(), 2)


def test_finish_refuses_a_shard_that_was_not_written(tmp_path: Path) -> None:
    store = selected(tmp_path, [sample(i) for i in range(8)])
    orders = begin(store, recipe(), 2)
    list(map(partial(write_shard, store), orders[:1]))
    with pytest.raises(WrongData, match=r"shards/train-000001\.tar was not written"):
        finish(store, orders, ("test", {}))
    assert not store.exists("shards/index.parquet")
