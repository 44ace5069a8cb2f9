"""Folders of tars that others wrote: indexed once, streamed as builds are; read anew where stale, never half."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines import index_folder as room
from pipelines.index_folder import IndexOptions, IndexReport, index_folder
from schemas.errors import WrongData
from schemas.stream import SourceConfig, StreamConfig
from stages.store import Store
from stages.stream.batches import BatchReader
from stages.stream.source import open_source
from tests.conftest import Cli
from tests.pipelines.index_folders import TARS, manifest, put, refused, same_size, streamed, tree
from tests.stages.stream.tars import by_webdataset, img2dataset_members, tar_of

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
