"""The manifest: every file, its hash, and the counts."""

import hashlib
import json
from pathlib import Path

import pytest

from pipelines.manifest import read_manifest, write_manifest
from schemas.errors import WrongData
from tests.finished import finished, mixed, recipe


def test_manifest_has_every_file_with_its_hash_and_the_counts(tmp_path: Path) -> None:
    finished(tmp_path, *mixed(20))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    listed = {e["path"]: (e["bytes"], e["sha256"]) for e in manifest["shards"] + manifest["files"]}
    there = {
        str(p.relative_to(tmp_path)): (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in tmp_path.rglob("*")
        if p.is_file() and p.name != "manifest.json" and p.parent.name != "logs"
    }
    assert listed == there
    assert [e["path"] for e in manifest["shards"]] == ["shards/train-000000.tar", "shards/train-000001.tar"]
    assert (manifest["inputs"], manifest["kept"]) == (20, 8)
    assert manifest["rejected"]["download/timeout"] == 2
    assert manifest["inputs"] == manifest["kept"] + sum(manifest["rejected"].values())


def test_two_builds_have_the_same_manifest(tmp_path: Path) -> None:
    for name in "ab":
        finished(tmp_path / name, *mixed(20))
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


def test_files_of_a_measure_no_longer_taken_are_not_listed(tmp_path: Path) -> None:
    store = finished(tmp_path, *mixed(10))
    asked = recipe()
    without = asked.model_copy(update={"measure": asked.measure.model_copy(update={"pdq": None})})
    names = {e.path for e in write_manifest(store, without).files}
    assert "measures/clip/00000.parquet" in names
    assert not any(n.startswith("measures/pdq/") for n in names)
    assert store.exists("measures/pdq/00000.parquet")


def test_a_tar_that_is_not_its_index_s_is_refused(tmp_path: Path) -> None:
    store = finished(tmp_path, *mixed(10))
    with (tmp_path / "parts/00001.tar").open("ab") as f:
        f.write(b"x")
    with pytest.raises(WrongData, match=r"parts/00001\.tar is not the tar of parts/00001\.parquet"):
        write_manifest(store, recipe())


def test_missing_and_torn_manifests_are_named(tmp_path: Path) -> None:
    store = finished(tmp_path, *mixed(10))
    assert read_manifest(store).kept == 4
    store.write_bytes("manifest.json", b'{"format": 1,')
    with pytest.raises(WrongData, match=r"manifest\.json cannot be read"):
        read_manifest(store)
    store.remove("manifest.json")
    with pytest.raises(WrongData, match="the build is not done"):
        read_manifest(store)
