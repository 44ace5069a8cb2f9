"""verify finds each kind of damage, names the file and the sample, and never falls over what it reads.

Most damage here is done by a careful hand: seals and manifest are made anew, so that no recorded hash gives it away.
"""

import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.ledger import write_ledger
from pipelines.manifest import write_manifest
from pipelines.verify import VerifyReport, verify
from schemas.errors import WrongRequest
from stages.payload import PayloadTar
from stages.store import Store
from tests.builders import Rejected, build, sample, sid, write_duplicates
from tests.finished import finished, index_of, mixed, recipe, rewrite

LEDGER, COUNTS, SELECTION = "ledger/00000.parquet", "ledger/counts.parquet", "selection.parquet"
SHARD = "shards/train-000000.tar"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "build"
    finished(path, *mixed(20))
    return path


@pytest.fixture
def store(good: Path, tmp_path: Path) -> Store:
    shutil.copytree(good, tmp_path / "build")
    return Store(str(tmp_path / "build"))


def _again(store: Store) -> VerifyReport:
    """Verify under a manifest that lists the files as they are now."""
    write_manifest(store, recipe())
    return verify(store)


def _about(report: VerifyReport, file: str) -> str:
    assert not report.ok
    found = [f.what for f in report.findings if f.file == file]
    assert found, f"nothing about {file} in {report.findings}"
    return "\n".join(found)


def _change(store: Store, name: str, change: Callable[[list[dict[str, Any]]], object], **extra: Any) -> None:
    """Edit a Parquet file's rows and seal it anew."""
    table = store.read_table(name)
    rows = table.to_pylist()
    change(rows)
    rewrite(store, name, pa.Table.from_pylist(rows, schema=table.schema), **extra)


def _set(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Change the first row."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[0] |= values

    return change


def _rebuild_shard(store: Store, edit: Callable[[str, bytes], bytes | None]) -> None:
    """Write the first shard again with edited members, and an index that fits it in everything."""
    name = "shards/train-000000"
    with store.open(f"{name}.tar") as file, tarfile.open(fileobj=file) as tar:
        old = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    with store.committing(f"{name}.tar") as path:
        out = PayloadTar(path)
        new = {n: out.add(n, edit(n, data) or data) for n, data in old}
        extra = {"tar_sha256": out.finish(), "tar_bytes": out.bytes}

    def move(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for kind, ext in (("image", row["image_ext"]), ("json", "json"), ("txt", "txt")):
                member = new[f"{row['key']}.{ext}"]
                row |= {f"{kind}_offset": member.offset, f"{kind}_size": member.size}

    _change(store, f"{name}.parquet", move, **extra)
    whole = pa.concat_tables([store.read_table(f"shards/train-00000{i}.parquet") for i in (0, 1)])
    rewrite(store, "shards/index.parquet", whole.cast(store.read_table("shards/index.parquet").schema))


# ------------------------------------------------------------------------------------------------ a good build


def test_a_good_build_is_ok_and_every_row_accounted_for(store: Store) -> None:
    report = verify(store)
    assert report.findings == []
    assert (report.ok, report.inputs, report.kept, report.rejected, report.unaccounted) == (True, 20, 8, 12, 0)
    assert report.as_json() == {"ok": True, "inputs": 20, "kept": 8, "rejected": 12, "unaccounted": 0, "findings": []}


def test_a_build_in_an_object_store_is_ok() -> None:
    assert verify(finished("memory://verify-far", *mixed(20))).ok


def test_a_build_with_every_column_odd_is_ok(tmp_path: Path) -> None:
    odd = {
        "caption": 'tab\tquote" élan 海',
        "extra": '{"a":[1,{"b":null}]}',
        "boxes": [{"label": None, "x": 0.1, "y": 0.0, "w": 1.5, "h": 2.0}],
        "mean_luma": float("nan"),
        "clip_score": float("nan"),
    }
    samples = [sample(i, **(odd if i % 2 else {})) for i in range(8)]
    dull = {0: Rejected("select", "dull", float("nan"), 0.3)}
    store = finished(tmp_path / "odd", samples, dull, val_share=0.4, max_samples=3)
    assert verify(store).findings == []
    assert verify(finished(tmp_path / "none", [sample(0)], {0: Rejected("select", "dull")})).findings == []


# ------------------------------------------------------------------------------------------------ bytes


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("parts/00001.tar", 700),
        (SHARD, 700),
        ("measures/clip/00002.parquet", 400),
        ("pool/00000.parquet", 300),
        (SELECTION, 200),
        ("shards/index.parquet", 300),
        ("shards/train-000001.parquet", 300),
        (LEDGER, 200),
        ("recipe.yaml", 7),
        ("groups/duplicates.parquet", 20),
    ],
)
def test_one_flipped_byte_is_found(store: Store, name: str, at: int) -> None:
    data = bytearray(store.read_bytes(name))
    data[at] ^= 0x10
    store.write_bytes(name, bytes(data))
    assert "sha256" in _about(verify(store), name)


@pytest.mark.parametrize(
    "name",
    [
        "pool/00001.parquet",
        "parts/00001.parquet",
        "parts/00001.tar",
        "measures/pdq/00004.parquet",
        "ledger/00000.parquet",
        "ledger/counts.parquet",
        "selection.parquet",
        "shards/train-000000.tar",
        "shards/train-000001.parquet",
        "shards/index.parquet",
        "manifest.json",
        "recipe.yaml",
    ],
)
def test_a_missing_file_is_named(store: Store, name: str) -> None:
    store.remove(name)
    assert "is missing" in _about(verify(store), name)


@pytest.mark.parametrize("name", [SHARD, "parts/00002.tar", "pool/00001.parquet", SELECTION, "manifest.json"])
def test_a_truncated_file_is_named(store: Store, name: str) -> None:
    data = store.read_bytes(name)
    store.write_bytes(name, data[: len(data) // 2])
    report = verify(store)
    _about(report, name)
    if name == SHARD:
        assert f"sample {index_of(store)[-1]['sample_id']}" in _about(report, name) or report.kept < 8


@pytest.mark.parametrize("turns", [16, pytest.param(400, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_random_damage_is_found_and_never_raises(store: Store, turns: int) -> None:
    chance = random.Random(7)
    names = [n for n in store.walk() if not n.startswith("logs/")]
    for turn in range(turns):
        name = chance.choice(names)
        data = store.read_bytes(name)
        torn = bytearray(data)
        for _ in range(chance.choice([1, 1, 8])):
            torn[chance.randrange(len(torn))] ^= chance.randrange(1, 256)
        store.write_bytes(name, bytes(torn if turn % 4 else torn[: chance.randrange(len(torn))]))
        if turn % 2:
            assert not verify(store).ok, name
        else:
            manifest = store.read_bytes("manifest.json")
            store.remove("manifest.json")
            verify(store)  # no recorded hash helps: it must still get to the end
            store.write_bytes("manifest.json", manifest)
        store.write_bytes(name, data)
    assert verify(store).ok


def test_a_file_of_ours_that_the_manifest_does_not_list_is_named(store: Store) -> None:
    store.write_bytes("shards/train-000009.tar", b"x")
    store.write_bytes("parts/00009.tar", b"x")
    report = verify(store)
    assert "not in the manifest" in _about(report, "shards/train-000009.tar")
    assert "not in the manifest" in _about(report, "parts/00009.tar")
    store.remove("shards/train-000009.tar")
    store.remove("parts/00009.tar")
    store.write_bytes("report.html", b"made later")
    assert verify(store).ok


# ------------------------------------------------------------------------------------------------ the account


def test_a_deleted_ledger_row_is_unaccounted_and_named(store: Store) -> None:
    _change(store, LEDGER, lambda rows: rows.pop(3))
    report = _again(store)
    assert f"sample {sid(3)} rejected and not in the ledger" in _about(report, LEDGER)
    assert (report.rejected, report.unaccounted) == (11, 1)


def test_a_ledger_row_with_another_threshold_is_named(store: Store) -> None:
    _change(store, LEDGER, _set(threshold=9.0))
    assert f"sample {sid(0)} not what selection.parquet says" in _about(_again(store), LEDGER)


def test_a_ledger_row_of_a_kept_sample_is_named(store: Store) -> None:
    _change(store, LEDGER, lambda rows: rows.append({**rows[-1], "sample_id": sid(19), "row": 3}))
    assert f"sample {sid(19)} in the ledger and not rejected" in _about(_again(store), LEDGER)


def test_a_decision_that_no_stage_took_is_named(store: Store) -> None:
    _change(store, SELECTION, lambda rows: rows[2].update(reason="timeout"))
    assert f"sample {sid(2)} of part 00000: not what its stages decided" in _about(_again(store), SELECTION)


def test_a_rejected_sample_turned_kept_is_named(store: Store) -> None:
    gone = {"stage": None, "reason": None, "value": None, "threshold": None, "detail": None}
    _change(store, SELECTION, lambda rows: rows[4].update(kept=True, **gone))
    report = _again(store)
    assert f"sample {sid(4)} in the ledger and not rejected" in _about(report, LEDGER)
    assert f"sample {sid(4)} kept and in no shard" in _about(report, "shards/index.parquet")


def test_selection_without_a_row_is_named(store: Store) -> None:
    _change(store, SELECTION, lambda rows: rows.pop(6))
    assert "does not hold the rows of part 00001" in _about(_again(store), SELECTION)


def test_wrong_counts_are_named_by_stage_and_reason(store: Store) -> None:
    _change(store, COUNTS, lambda rows: rows[3].update(rejected=1))
    row = store.read_table(COUNTS).to_pylist()[3]
    what = _about(_again(store), COUNTS)
    assert f"{row['stage']}/{row['reason']}: says" in what
    assert "counted 18 in, 14 kept, 2 rejected" in what


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"inputs": 20', '"inputs": 21', "says 21 inputs, counted 20"),
        ('"kept": 8', '"kept": 9', "says 9 kept, counted 8"),
        ('"download/timeout": 2', '"download/timeout": 1', "says 1 rejected as download/timeout, counted 2"),
        ('"fingerprint": "', '"fingerprint": "0', "fingerprint"),
    ],
)
def test_a_changed_manifest_is_found(store: Store, old: str, new: str, what: str) -> None:
    text = store.read_bytes("manifest.json").decode()
    assert old in text
    store.write_bytes("manifest.json", text.replace(old, new).encode())
    assert what in _about(verify(store), "manifest.json")


def test_a_sample_id_that_the_pool_has_twice_is_named(tmp_path: Path) -> None:
    samples = [sample(i) for i in range(8)]
    samples[6]["sample_id"] = sid(1)
    what = _about(verify(finished(tmp_path, samples)), "pool")
    assert f"sample {sid(1)} in the pool more than once" in what


def test_two_kept_members_of_a_duplicate_group_are_named(store: Store) -> None:
    link = {"group": sid(6), "kind": "exact", "distance": 0.0}
    ids = [(6, 7), (7, 6)]
    write_duplicates(store, [{"sample_id": sid(a), "linked_to": sid(b), **link} for a, b in ids])
    assert f"sample {sid(6)} kept beside another member" in _about(_again(store), SELECTION)


def test_a_link_out_of_its_group_is_named(store: Store) -> None:
    link = {"group": sid(4), "kind": "exact", "distance": 0.0, "linked_to": sid(9)}
    write_duplicates(store, [{"sample_id": sid(i), **link} for i in (4, 5)])
    assert f"sample {sid(4)}, sample {sid(5)} linked to" in _about(_again(store), "groups/duplicates.parquet")


# ------------------------------------------------------------------------------------------------ families


def test_rows_of_a_family_out_of_order_are_found(store: Store) -> None:
    _change(store, "measures/pdq/00001.parquet", lambda rows: rows.reverse())
    assert "does not hold the rows of part 00001 in order" in _about(_again(store), "measures/pdq/00001.parquet")


def test_a_null_that_the_contract_forbids_is_found(store: Store) -> None:
    _change(store, "measures/caption/00001.parquet", lambda rows: rows[3].update(caption_words=None))
    assert "column 'caption_words' has 1 nulls" in _about(_again(store), "measures/caption/00001.parquet")


def test_a_column_of_another_type_is_found(store: Store) -> None:
    table = store.read_table("measures/image/00000.parquet")
    at = table.column_names.index("image_bytes")
    rewrite(
        store, "measures/image/00000.parquet", table.set_column(at, "image_bytes", table["image_bytes"].cast("int32"))
    )
    assert "'image_bytes' is int32, not int64" in _about(_again(store), "measures/image/00000.parquet")


def test_values_in_a_row_rejected_before_are_found(store: Store) -> None:
    _change(store, "measures/caption/00000.parquet", _set(caption_words=3))
    assert "column 'caption_words' has values in rows" in _about(_again(store), "measures/caption/00000.parquet")


def test_a_changed_measure_is_found_in_the_shard_that_tells_another(store: Store) -> None:
    _change(store, "measures/clip/00001.parquet", lambda rows: rows[2].update(clip_score=0.9))
    shard = next(row["shard"] for row in index_of(store) if row["sample_id"] == sid(6))
    assert f"sample {sid(6)} in it with another JSON" in _about(_again(store), f"shards/{shard}")


def test_rows_that_are_not_their_seal_s_are_found(store: Store) -> None:
    name = "measures/caption/00001.parquet"
    table, seal = store.read_table(name), store.seal(name)
    rows = table.to_pylist()
    rows[3]["caption_words"] = 77
    assert seal is not None
    store.write_table(name, pa.Table.from_pylist(rows, schema=table.schema), seal)
    assert "not those that its seal was made for" in _about(_again(store), name)


# ------------------------------------------------------------------------------------------------ tars


def test_a_payload_with_other_bytes_is_named_by_sample(store: Store) -> None:
    row = store.read_table("parts/00001.parquet").to_pylist()[2]
    data = bytearray(store.read_bytes("parts/00001.tar"))
    data[row["offset"] + 5] ^= 1
    store.write_bytes("parts/00001.tar", bytes(data))
    sha256 = store.sha256("parts/00001.tar")
    _change(store, "parts/00001.parquet", lambda rows: None, tar_sha256=sha256)
    assert f"the bytes of sample {sid(6)} are not those of its index" in _about(_again(store), "parts/00001.tar")


def test_a_payload_that_no_row_names_is_found(store: Store) -> None:
    _change(store, "parts/00001.parquet", lambda rows: rows[2].update(member=None))
    what = _about(_again(store), "parts/00001.tar")
    assert f"member '{sid(6)}.png' is not in parts/00001.parquet" in what


def test_swapped_images_in_a_shard_are_named_by_sample(store: Store) -> None:
    with store.open(SHARD) as file, tarfile.open(fileobj=file) as tar:
        images = [(m.name, tar.extractfile(m).read()) for m in tar if m.name.endswith("png")]  # type: ignore[union-attr]
    (a, data_a), (b, data_b), *_ = images
    _rebuild_shard(store, {a: data_b, b: data_a}.get)
    what = _about(_again(store), SHARD)
    for name in (a, b):
        assert f"sample {name[:-4]}: its image is not the one of its index row" in what


def test_a_changed_json_in_a_shard_is_named_by_sample(store: Store) -> None:
    key = index_of(store)[0]["key"]
    _rebuild_shard(store, lambda name, data: data.replace(b'"std_luma":64', b'"std_luma":65') if key in name else data)
    assert f"sample {key} in it with another JSON than the columns say" in _about(_again(store), SHARD)


def test_a_json_that_is_not_json_is_named_by_sample(store: Store) -> None:
    key = index_of(store)[0]["key"]
    _rebuild_shard(store, lambda name, data: b"\xff" if name == f"{key}.json" else data)
    assert f"sample {key}: its json or txt cannot be read" in _about(_again(store), SHARD)


def test_a_sample_missing_from_its_shard_is_unaccounted(store: Store) -> None:
    name = "shards/train-000000.parquet"
    gone = index_of(store)[3]["sample_id"]
    _change(store, name, lambda rows: rows.pop(3), samples=3)
    report = _again(store)
    assert f"members '{gone}'.* are not in {name}" in _about(report, SHARD)
    assert f"sample {gone} kept and in no shard" in _about(report, "shards/index.parquet")
    assert (report.kept, report.unaccounted) == (7, 1)


def test_an_index_that_is_not_the_shards_is_found(store: Store) -> None:
    _change(store, "shards/index.parquet", lambda rows: rows[5].update(width=99))
    assert "rows of train-000001.tar" in _about(_again(store), "shards/index.parquet")


# ------------------------------------------------------------------------------------------------ no build


def test_an_unfinished_build_is_not_ok_and_does_not_raise(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(i) for i in range(4)])
    assert "the build is not done" in _about(verify(store), "manifest.json")


def test_no_build_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WrongRequest, match="holds no build"):
        verify(Store(str(tmp_path)))


def test_ledger_made_anew_is_ok(store: Store) -> None:
    store.remove(COUNTS)
    write_ledger(store, recipe())
    assert _again(store).ok
