"""Shards over the network: the files that they are fetched to, on full disks and in the cache."""

import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.stages.stream.fetching import DATA, PATH, WRONG, facts, fetched, fetcher, refusal
from tests.stages.stream.servers import Answer, Hostile

pytestmark = pytest.mark.usefixtures("small_ranges")


# ---------------------------------------------------------------------- files


def test_unnamed_files_leave_nothing(web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state, url = web
    seen: list[Path] = []

    def look(_n: int, _r: object) -> Answer:
        seen.extend(tmp_path.iterdir())
        return Answer()

    state.scripts[PATH] = look
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    subject = fetcher(url)
    fetched(subject)
    state.objects.clear()
    refusal(subject)
    assert not seen and not list(tmp_path.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 12  # kept connections, the event loop


def test_a_full_disk_without_a_cache(web: tuple[Hostile, str], monkeypatch: pytest.MonkeyPatch) -> None:
    full_after(monkeypatch, 100_000)
    said = refusal(fetcher(web[1]))
    assert "no space left in " in said and "TMPDIR" in said


def full_after(monkeypatch: pytest.MonkeyPatch, room: int, folder: Path | None = None) -> None:
    """A disk on which `room` bytes more can be written, plus what is removed from `folder`."""
    write, lock = os.pwrite, threading.Lock()
    state = {"written": 0}

    def used() -> int:
        return 0 if folder is None else sum(p.stat().st_size for p in folder.iterdir() if len(p.name) == 64)

    before = used()

    def limited(fd: int, data: Any, offset: int) -> int:
        with lock:
            left = room + before - used() - state["written"]
            if left <= 0:
                raise OSError(28, "No space left on device")
            count = write(fd, data[:left], offset)
            state["written"] += count
        return count

    monkeypatch.setattr(os, "pwrite", limited)


def test_a_full_disk_under_the_cache_is_cleared_of_what_nobody_reads(
    web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = web
    subject = fetcher(url, cache=str(tmp_path))
    others = [facts(bytes([n]) * 400_000, f"/{n}.tar") for n in range(2)]
    for n, other in enumerate(others):
        state.objects[f"/{n}.tar"] = bytes([n]) * 400_000
        fetched(subject, other)
    full_after(monkeypatch, 300_000, tmp_path)
    assert fetched(subject) == DATA
    assert {p.name for p in tmp_path.iterdir()} == {".lock", others[1].sha256, facts().sha256}


def test_a_full_disk_under_the_cache_that_all_is_read_from(
    web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = web
    subject, other = fetcher(url, cache=str(tmp_path)), facts(b"x" * 400_000, "/other.tar")
    state.objects["/other.tar"] = b"x" * 400_000
    fd = subject.fetch(other)
    full_after(monkeypatch, 300_000, tmp_path)
    said = refusal(subject)
    assert f"no space left in cache {tmp_path}" in said and "remote.cache_bytes" in said
    assert {p.name for p in tmp_path.iterdir()} == {".lock", other.sha256}
    monkeypatch.undo()
    os.close(fd)


def test_a_really_full_disk(web: tuple[Hostile, str], small_disk: Path) -> None:
    state, url = web
    subject, other = fetcher(url, cache=str(small_disk)), facts(DATA[::-1], "/other.tar")
    state.objects["/other.tar"] = DATA[::-1]
    fd = subject.fetch(other)
    assert "no space left in cache" in refusal(subject)
    os.close(fd)
    assert fetched(subject) == DATA
    assert {p.name for p in small_disk.iterdir()} == {".lock", facts().sha256}


# ---------------------------------------------------------------------- cache


def test_a_cached_shard_is_not_asked_for_again(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    for _ in range(2):
        assert fetched(fetcher(url, cache=str(tmp_path))) == DATA
    assert len(state.requests) == 10
    state.objects[PATH] = WRONG
    assert fetched(fetcher(url, cache=str(tmp_path)), facts(WRONG)) == WRONG  # a changed shard is another file
    assert {p.name for p in tmp_path.iterdir()} == {".lock", facts().sha256, facts(WRONG).sha256}


@pytest.mark.parametrize("damage", [WRONG, DATA[:-1], b""])
def test_a_damaged_cached_shard_is_fetched_anew(web: tuple[Hostile, str], tmp_path: Path, damage: bytes) -> None:
    state, url = web
    (tmp_path / facts().sha256).write_bytes(damage)
    assert fetched(fetcher(url, cache=str(tmp_path))) == DATA
    assert (tmp_path / facts().sha256).read_bytes() == DATA and len(state.requests) == 10


def test_a_shard_beyond_the_bound_is_fetched_unnamed(web: tuple[Hostile, str], tmp_path: Path) -> None:
    assert fetched(fetcher(web[1], cache=str(tmp_path), cache_bytes=len(DATA) - 1)) == DATA
    assert {p.name for p in tmp_path.iterdir()} <= {".lock"}


def test_a_failed_fetch_leaves_nothing_in_the_cache(web: tuple[Hostile, str], tmp_path: Path) -> None:
    web[0].objects[PATH] = WRONG
    refusal(fetcher(web[1], cache=str(tmp_path), tries=1))
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_threads_that_want_the_same_shard_transfer_it_once(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(pause=0.02)
    subject = fetcher(url, cache=str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: fetched(subject), range(8))) == {DATA}
    assert len(state.requests) == 10
