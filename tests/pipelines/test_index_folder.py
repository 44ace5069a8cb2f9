"""Folders of tars that others wrote: indexed once, streamed as builds are; never half, never over others' files."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines import index_folder as room
from pipelines.index_folder import IndexOptions, IndexReport, index_folder
from schemas.errors import PairmillError, WrongData, WrongRequest
from schemas.manifest import FolderIndex
from schemas.stream import SourceConfig, StreamConfig
from stages.store import Store
from stages.stream.batches import BatchReader
from stages.stream.source import Source, open_source
from tests.conftest import Cli
from tests.pipelines.test_cli import pairmill
from tests.stages.stream.tars import Members, by_webdataset, img2dataset_members, tar_of

TARS = {
    "00000.tar": tar_of(img2dataset_members(0, 5), tarfile.PAX_FORMAT),
    "00001.tar": tar_of(img2dataset_members(5, 4)),
    "more/00000.tar": tar_of([*img2dataset_members(9, 3), ("last.cls", b"1"), ("README", b"x")]),
    "more/none.tar": tar_of([]),
}


def put(url: str, tars: dict[str, bytes] = TARS) -> str:
    """A folder with these tars; its path."""
    fs, root = fsspec.core.url_to_fs(url)
    for name, data in tars.items():
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", data)
    return url


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return put(str(tmp_path / "tars"))


def tree(path: str) -> dict[str, str]:
    """Every file of an index but logs, and its hash."""
    store = Store(path)
    names = [n for n in store.walk() if not n.startswith("logs/")]
    return {n: hashlib.sha256(store.read_bytes(n)).hexdigest() for n in names}


def manifest(index: str) -> FolderIndex:
    return FolderIndex.model_validate_json(Store(index).read_bytes("manifest.json"))


def streamed(source: Source) -> list[tuple[str, dict[str, bytes]]]:
    """sample_id and members of every sample, read where the stream would read them."""
    out: list[tuple[str, dict[str, bytes]]] = []
    for i, facts in enumerate(source.facts):
        data, index = source.tars.read_bytes(facts.path), source.index(i)
        index.require_inside(facts.path, len(data))
        assert hashlib.sha256(data).hexdigest() == facts.sha256 and len(data) == facts.bytes
        for j, sample_id in enumerate(index.sample_ids):
            places = {e: index.places(e) for e in ("jpg", "json", "txt", "cls")}
            found = {e: data[p.offsets[j] : p.offsets[j] + p.sizes[j]] for e, p in places.items() if p.sizes[j] >= 0}
            out.append((sample_id, found))
    return out


def refused(kind: type[PairmillError], *args: Any) -> str:
    with pytest.raises(kind) as caught:
        index_folder(*args)
    return str(caught.value)


def same_size(data: bytes) -> bytes:
    """The same tar but for one byte of its data."""
    at = data.index(b"caption")
    return data[:at] + b"C" + data[at + 1 :]


# ---------------------------------------------------------------------------------- reading


def test_a_source_of_the_stream(folder: str) -> None:
    report = index_folder(folder)
    expected = [s for n in sorted(TARS) for s in by_webdataset(Path(folder, n))]
    found = streamed(open_source(SourceConfig(path=folder)))
    assert [members for _, members in found] == [members for _, members in expected]
    assert len({sample_id for sample_id, _ in found}) == 13
    assert report == IndexReport(
        index=f"{folder}/.pairmill",
        shards=4,
        samples=13,
        bytes=sum(map(len, TARS.values())),
        endings={"jpg": 12, "json": 12, "txt": 12, "cls": 1},
        without_image=1,
        ignored=1,
        read=4,
        removed=0,
    )


def test_the_stream_itself_gives_every_sample_once(folder: str) -> None:
    index_folder(folder)
    settings = StreamConfig(sources=[SourceConfig(path=folder)], members=["txt"], batch=4, window=2)
    ids = [sample_id for batch in BatchReader(settings) for sample_id in batch.sample_id]
    assert sorted(ids) == sorted(sample_id for sample_id, _ in streamed(open_source(SourceConfig(path=folder))))


def test_shards_of_webdataset(tmp_path: Path) -> None:
    import webdataset

    pattern = str(tmp_path / "w-%04d.tar")
    with webdataset.ShardWriter(pattern, maxcount=6, verbose=0) as sink:  # pyright: ignore[reportPrivateImportUsage]
        for i in range(20):
            sink.write({"__key__": f"s{i:03d}", "jpg": b"\xff\xd8\xff" * i, "txt": f"caption {i}"})
    report = index_folder(str(tmp_path))
    assert (report.shards, report.samples, report.endings) == (4, 20, {"jpg": 20, "txt": 20})
    found = streamed(open_source(SourceConfig(path=str(tmp_path))))
    assert [m for _, m in found] == [{"jpg": b"\xff\xd8\xff" * i, "txt": f"caption {i}".encode()} for i in range(20)]


def test_hidden_names_are_left_out_and_linked_files_are_read(folder: str, tmp_path: Path) -> None:
    put(folder, {".part.tar": b"half", ".cache/0.tar": b"half"})
    (tmp_path / "elsewhere.tar").write_bytes(tar_of(img2dataset_members(90, 1)))
    Path(folder, "linked.tar").symlink_to(tmp_path / "elsewhere.tar")
    assert index_folder(folder).samples == 14
    (tmp_path / "elsewhere.tar").write_bytes(tar_of(img2dataset_members(91, 1)))
    assert index_folder(folder).read == 1, "what a link leads to has changed"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("foreign-tars")
    try:
        yield "s3://foreign-tars"
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        server.stop()


def test_in_memory(folder: str) -> None:
    as_on_a_disk("memory://mill/tars", folder)


def test_object_store(bucket: str, folder: str) -> None:
    as_on_a_disk(f"{bucket}/some/tars", folder)


def as_on_a_disk(url: str, folder: str) -> None:
    put(url)
    assert index_folder(url).read == 4 and index_folder(url).read == 0
    index_folder(folder)
    assert streamed(open_source(SourceConfig(path=url))) == streamed(open_source(SourceConfig(path=folder)))
    assert manifest(f"{url}/.pairmill").fingerprint == manifest(f"{folder}/.pairmill").fingerprint
    put(url, {"00001.tar": same_size(TARS["00001.tar"])})
    assert index_folder(url).read == 1


# --------------------------------------------------------------------------------- staleness


def test_an_unchanged_tar_is_not_read_and_check_reads_it(folder: str) -> None:
    index_folder(folder)
    before = tree(f"{folder}/.pairmill")
    path = Path(folder, "00001.tar")
    state = path.stat()
    path.write_bytes(same_size(TARS["00001.tar"]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert index_folder(folder).read == 0
    assert "00001.tar has sha256" in refused(WrongData, folder, IndexOptions(check=True))
    assert tree(f"{folder}/.pairmill") == before, "a check changes nothing"
    path.write_bytes(TARS["00001.tar"])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert index_folder(folder, IndexOptions(check=True)).read == 4
    assert tree(f"{folder}/.pairmill") == before


def test_a_changed_tar_is_read_and_no_other(folder: str) -> None:
    index_folder(folder)
    before = manifest(f"{folder}/.pairmill")
    os.utime(Path(folder, "00000.tar"), ns=(1, 1))
    assert index_folder(folder).read == 1
    assert manifest(f"{folder}/.pairmill").fingerprint == before.fingerprint, "the same bytes"
    put(folder, {"00001.tar": tar_of(img2dataset_members(50, 1))})
    assert index_folder(folder).samples == 13 - 4 + 1
    assert manifest(f"{folder}/.pairmill").fingerprint != before.fingerprint


def test_a_tar_that_is_gone_takes_its_index_along(folder: str) -> None:
    index_folder(folder)
    Path(folder, "00001.tar").unlink()
    report = index_folder(folder)
    assert (report.read, report.removed, report.samples) == (0, 1, 9)
    assert set(tree(f"{folder}/.pairmill")) == {
        "00000.parquet",
        "more/00000.parquet",
        "more/none.parquet",
        "manifest.json",
    }


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_damaged_index_is_made_anew(folder: str, with_manifest: bool) -> None:
    index_folder(folder)
    before = tree(f"{folder}/.pairmill")
    path = Path(folder, ".pairmill/00000.parquet")
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF  # rows; the footer with the seal stays as it is
    path.write_bytes(data)
    if not with_manifest:
        Path(folder, ".pairmill/manifest.json").unlink()
    assert index_folder(folder).read == 1
    assert tree(f"{folder}/.pairmill") == before


def test_a_damaged_manifest_is_made_anew(folder: str) -> None:
    index_folder(folder)
    before = tree(f"{folder}/.pairmill")
    Path(folder, ".pairmill/manifest.json").write_text("{")
    assert index_folder(folder).read == 0
    assert tree(f"{folder}/.pairmill") == before


def test_the_same_tars_give_the_same_bytes_wherever_they_lie(folder: str, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    index_folder(folder)
    index_folder(str(copy))
    assert tree(f"{folder}/.pairmill") == tree(f"{copy}/.pairmill")


def test_a_folder_moves_with_its_index(folder: str, tmp_path: Path) -> None:
    index_folder(folder)
    moved = str(Path(folder).rename(tmp_path / "moved"))
    assert index_folder(moved).read == 0
    assert len(streamed(open_source(SourceConfig(path=moved)))) == 13


# ------------------------------------------------------------------------------------- kills


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.mark.parametrize("survived", range(6))
def test_killed_before_any_change_to_the_index(folder: str, survived: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed, a new and a removed tar: each removal and each commit is a point to die at."""
    index_folder(folder)
    Path(folder, "more/none.tar").unlink()
    put(folder, {"00000.tar": tar_of(img2dataset_members(70, 2)), "new.tar": tar_of(img2dataset_members(80, 2))})
    done: list[str] = []

    def counted(method: Any) -> Any:
        def act(self: Store, name: str, *rest: Any) -> Any:
            if len(done) == survived:
                raise Killed
            done.append(name)
            return method(self, name, *rest)

        return act

    monkeypatch.setattr(room, "_THREADS", 1)
    with monkeypatch.context() as patch:
        for name in ("remove", "write_table", "write_bytes"):
            patch.setattr(Store, name, counted(getattr(Store, name)))
        try:
            index_folder(folder)
        except Killed:
            assert survived < 5
        else:
            assert survived == 5 and len(done) == 5, "the manifest, one index gone, two made, the manifest"
    assert Path(folder, ".pairmill/manifest.json").exists() == (survived in (0, 5))
    assert index_folder(folder).read == {0: 2, 1: 2, 2: 2, 3: 1, 4: 0, 5: 0}[survived]
    found = tree(f"{folder}/.pairmill")
    shutil.rmtree(Path(folder, ".pairmill"))
    index_folder(folder)
    assert tree(f"{folder}/.pairmill") == found


def test_sigkill(tmp_path: Path, cli: Cli) -> None:
    folder = put(str(tmp_path), {f"{i:03d}.tar": tar_of(img2dataset_members(i * 10, 10)) for i in range(300)})
    process = cli.start("index", folder, "--json")
    index = Path(folder, ".pairmill")
    while process.poll() is None and len(list(index.glob("*.parquet"))) < 20:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    known = len(list(index.glob("*.parquet")))
    assert 20 <= known < 300 and not (index / "manifest.json").exists()
    report = index_folder(folder)
    assert report.samples == 3000 and report.read == 300 - known
    assert not list(index.rglob(".tmp-*"))


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
