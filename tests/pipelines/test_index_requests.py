"""Requests to index a folder of tars: where the index goes, never over others' files; what is refused, what is said."""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines import index_folder as room
from pipelines.index_folder import IndexOptions, index_folder
from schemas.errors import WrongData, WrongRequest
from schemas.stream import SourceConfig
from stages.store import Store
from stages.stream.source import open_source
from tests.pipelines.index_folders import TARS, manifest, put, refused, streamed, tree
from tests.pipelines.test_cli import pairmill
from tests.stages.stream.tars import Members, img2dataset_members, tar_of

# ------------------------------------------------------------------------------------- --out


def test_out_is_a_source_of_its_own(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = index_folder("tars", IndexOptions(out="idx"))
    assert not Path(folder, ".pairmill").exists() and report.index == "idx"
    assert manifest("idx").folder == folder
    monkeypatch.chdir("/")
    assert len(streamed(open_source(SourceConfig(path=str(tmp_path / "idx"))))) == 13


def test_out_that_is_the_default_is_the_default(folder: str) -> None:
    index_folder(folder, IndexOptions(out=f"{folder}/.pairmill/"))
    assert manifest(f"{folder}/.pairmill").folder == ".."


def test_out_of_another_folder(folder: str, tmp_path: Path) -> None:
    index_folder(folder, IndexOptions(out=str(tmp_path / "idx")))
    other = put(str(tmp_path / "other"), {"1.tar": TARS["00000.tar"]})
    before = tree(str(tmp_path / "idx"))
    said = refused(WrongRequest, other, IndexOptions(out=str(tmp_path / "idx")))
    assert f"holds the index of {folder}" in said and "--out" in said
    assert tree(str(tmp_path / "idx")) == before


@pytest.mark.parametrize("out", ["tars", "tars/", ".", "tars/../tars"])
def test_out_around_the_tars(folder: str, tmp_path: Path, out: str) -> None:
    """img2dataset writes 00000.parquet beside 00000.tar: there an index would go over it."""
    Path(folder, "00000.parquet").write_text("img2dataset's")
    assert "holds the tars themselves" in refused(WrongRequest, folder, IndexOptions(out=str(tmp_path / out)))
    assert Path(folder, "00000.parquet").read_text() == "img2dataset's"


@pytest.mark.parametrize("name", ["00000.parquet", "more/00000.parquet", "manifest.json"])
def test_out_with_others_files(folder: str, tmp_path: Path, name: str) -> None:
    out = put(str(tmp_path / "idx"), {name: b'{"recipe": "a build"}'})
    assert "--out" in refused(WrongRequest, folder, IndexOptions(out=out))
    assert tree(out) == {name: hashlib.sha256(b'{"recipe": "a build"}').hexdigest()}


def test_out_leaves_others_files_alone(folder: str, tmp_path: Path) -> None:
    import pyarrow as pa

    from stages.store import sealed

    out = Store(put(str(tmp_path / "idx"), {"notes.parquet": b"not ours"}))
    table = pa.table({"a": [1]})
    out.write_table("other.parquet", table, sealed(table, "f", "download"))
    index_folder(folder, IndexOptions(out=out.url))
    assert {"notes.parquet", "other.parquet", "00000.parquet"} < set(tree(out.url))


# ----------------------------------------------------------------------------------- refused


def test_nothing_to_index(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "a.txt"):
        assert "holds no .tar file" in refused(WrongRequest, str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"], "nothing is written for a wrong request"


def test_a_build(folder: str) -> None:
    Path(folder, "recipe.yaml").write_text("name: x")
    assert "is a build" in refused(WrongRequest, folder)


def test_shards_of_a_build(tmp_path: Path) -> None:
    """`pairmill verify` accounts for every file of a build: an index in it would be a finding."""
    folder = put(str(tmp_path / "build/shards"))
    (tmp_path / "build/recipe.yaml").write_text("name: x")
    said = refused(WrongRequest, folder)
    assert "is part of the build" in said and "--out" in said
    assert not Path(folder, ".pairmill").exists()
    assert index_folder(folder, IndexOptions(out=str(tmp_path / "idx"))).samples == 13


def test_unwritable(folder: str) -> None:
    Path(folder, ".pairmill").write_text("in the way")
    said = refused(WrongRequest, folder)
    assert "cannot write to" in said and "--out" in said


def test_compressed_by_name(folder: str) -> None:
    put(folder, {"more/00002.tar.gz": b"\x1f\x8b"})
    assert "more/00002.tar.gz is compressed" in refused(WrongData, folder)


def test_no_file(folder: str) -> None:
    Path(folder, "gone.tar").symlink_to("nowhere")
    assert "gone.tar cannot be read" in refused(WrongData, folder)
    Path(folder, "gone.tar").unlink()
    os.mkfifo(Path(folder, "pipe.tar"))
    assert "pipe.tar is no file" in refused(WrongData, folder)


@pytest.mark.parametrize("name", ["n" * 250 + ".tar", "a\x1b[2J.tar", os.fsdecode(b"\xe9.tar"), "00000.parquet/0.tar"])
def test_a_name_that_its_index_cannot_have(folder: str, name: str) -> None:
    put(folder, {name: TARS["00000.tar"]})
    said = refused(WrongData, folder)
    assert "index" in said and said.isprintable()


def test_names_in_any_script(tmp_path: Path) -> None:
    name = "фото 写真\u3000é/0.tar"
    assert index_folder(put(str(tmp_path), {name: TARS["00000.tar"]})).samples == 5
    assert [s.path for s in manifest(f"{tmp_path}/.pairmill").shards] == [name]


def test_another_run_holds_it(folder: str) -> None:
    index_folder(folder)
    with Path(folder, ".pairmill/logs/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another run" in refused(WrongRequest, folder)


def test_damaged_tars_do_not_keep_others_from_their_index(folder: str) -> None:
    put(folder, {"00000.tar": TARS["00000.tar"][:3000], "more/00000.tar": b"x" * 600})
    said = refused(WrongData, folder)
    assert "00000.tar is damaged at byte" in said and "1 more of 4 tars" in said
    assert not Path(folder, ".pairmill/manifest.json").exists()
    put(folder, {n: TARS[n] for n in ("00000.tar", "more/00000.tar")})
    assert index_folder(folder).read == 2


def test_a_tar_that_grows_while_it_is_read(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = room.find_tars

    def listed_before(store: Store) -> Any:
        tars = found(store)
        put(folder, {"00000.tar": tar_of(img2dataset_members(0, 60))})
        return tars

    monkeypatch.setattr(room, "find_tars", listed_before)
    assert "00000.tar had" in refused(WrongData, folder)


def with_id(key: str, sample_id: str) -> Members:
    return [(f"{key}.jpg", b""), (f"{key}.json", json.dumps({"sample_id": sample_id}).encode())]


@pytest.mark.parametrize("apart", [True, False], ids=["in two tars", "in one tar"])
def test_a_sample_id_that_is_there_twice(tmp_path: Path, apart: bool) -> None:
    ids = [f"{i:032x}" for i in range(4)]
    first, second = with_id("x/1", ids[1]) + with_id("x/2", ids[2]), with_id("y/3", ids[3]) + with_id("y/4", ids[2])
    tars = {"a.tar": tar_of(first), "b.tar": tar_of(second)} if apart else {"a.tar": tar_of(first + second)}
    folder = put(str(tmp_path), tars)
    second_place = "b.tar (y/4)" if apart else "a.tar (y/4)"
    for _ in range(2):  # also when both are indexed already
        said = refused(WrongData, folder)
        assert f"sample_id {ids[2]} is there twice: a.tar (x/2) and {second_place}" in said
        assert not (tmp_path / ".pairmill/manifest.json").exists()
    put(folder, {"a.tar": tar_of(with_id("x/1", ids[1]))})
    index_folder(folder)


def test_ids_that_are_equal_in_their_first_half_are_two(tmp_path: Path) -> None:
    ids = ["ab" * 8 + "0" * 16, "ab" * 8 + "1" * 16]
    put(str(tmp_path), {"a.tar": tar_of(with_id("1", ids[0]) + with_id("2", ids[1]))})
    assert index_folder(str(tmp_path)).samples == 2


# ------------------------------------------------------------------------------- command line


def test_command(folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairmill("index", folder, "--json", monkeypatch=monkeypatch) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["samples"] == 13 and said["read"] == 4 and said["endings"]["cls"] == 1
    assert pairmill("index", folder, monkeypatch=monkeypatch) == 0
    table = capsys.readouterr().out
    assert "cls" in table and "0 tars read, 4 known" in table
    assert pairmill("index", "nowhere", monkeypatch=monkeypatch) == 2
    assert "nowhere holds no .tar file" in capsys.readouterr().err
    put(folder, {"00001.tar": b"x" * 600})
    assert pairmill("index", folder, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err
    assert "pairmill: 00001.tar is damaged at byte 0" in said and said.splitlines()[-1].startswith("pairmill: ")
