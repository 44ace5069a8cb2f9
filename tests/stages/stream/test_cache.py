"""The shared folder of shards: its bound, who waits for whom, and what a kill leaves."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import WrongData, WrongRequest
from stages.stream.cache import ShardCache
from tests.stages.stream.servers import held_bytes, wait_for

ROOT = Path(__file__).resolve().parents[3]
SIZE = 100


def name(n: int) -> str:
    return hashlib.sha256(b"%d" % n).hexdigest()


def body(n: int, size: int = SIZE) -> bytes:
    return (b"%03d" % n * size)[:size]


def put(cache: ShardCache, n: int, size: int = SIZE) -> None:
    with cache.claim(name(n), size, 1) as slot:
        assert slot is not None
        os.pwrite(slot.fd, body(n, size), 0)
        os.close(slot.commit())


def present(cache: ShardCache) -> set[int]:
    return {n for n in range(20) if (cache.folder / name(n)).exists()}


def total(cache: ShardCache) -> int:
    return held_bytes(cache.folder)


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(str(tmp_path / "cache"), 3 * SIZE)


def test_what_was_committed_is_found_read_only(cache: ShardCache) -> None:
    assert cache.open(name(1), SIZE) is None
    put(cache, 1)
    fd = cache.open(name(1), SIZE)
    assert fd is not None and os.pread(fd, 2 * SIZE, 0) == body(1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(fd, b"x", 0)
    os.close(fd)
    assert sorted(p.name for p in cache.folder.iterdir()) == sorted([".lock", name(1)])


def test_the_least_recently_used_goes_first(cache: ShardCache) -> None:
    for n in (1, 2, 3):
        put(cache, n)
    for n in (1, 3):
        fd = cache.open(name(n), SIZE)
        assert fd is not None
        os.close(fd)
    put(cache, 4)
    assert present(cache) == {1, 3, 4}
    put(cache, 5, 2 * SIZE)
    assert present(cache) == {4, 5}


def test_what_somebody_has_open_goes_last_and_stays_readable(cache: ShardCache) -> None:
    for n in (1, 2, 3):
        put(cache, n)
    first = cache.open(name(1), SIZE)
    assert first is not None
    put(cache, 4, 2 * SIZE)
    assert present(cache) == {1, 4}
    put(cache, 5, 3 * SIZE)
    assert present(cache) == {5} and os.pread(first, SIZE, 0) == body(1)
    os.close(first)


def test_a_map_counts_as_open(cache: ShardCache) -> None:
    import mmap

    for n in (1, 2, 3):
        put(cache, n)
    fd = cache.open(name(1), SIZE)
    assert fd is not None
    data = mmap.mmap(fd, SIZE, prot=mmap.PROT_READ)
    os.close(fd)
    put(cache, 4)
    assert present(cache) == {1, 3, 4} and data[:] == body(1)
    data.close()


def test_transfers_under_way_count_against_the_bound(cache: ShardCache) -> None:
    put(cache, 1)
    with cache.claim(name(2), 2 * SIZE, 1) as second:
        assert second is not None and total(cache) == 3 * SIZE
        with cache.claim(name(3), 2 * SIZE, 1) as third:
            assert third is None and present(cache) == {1}
        with cache.claim(name(4), SIZE, 1) as fourth:
            assert fourth is not None and present(cache) == set() and total(cache) == 3 * SIZE


def test_a_shard_larger_than_the_bound_removes_nothing(cache: ShardCache) -> None:
    put(cache, 1)
    with cache.claim(name(2), 3 * SIZE + 1, 1) as slot:
        assert slot is None
    assert present(cache) == {1}


def test_an_abandoned_claim_leaves_nothing(cache: ShardCache) -> None:
    with pytest.raises(KeyError), cache.claim(name(1), SIZE, 1):
        raise KeyError
    assert [p.name for p in cache.folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("commits", [True, False])
def test_others_wait_for_who_transfers(cache: ShardCache, commits: bool) -> None:
    other, got = ShardCache(str(cache.folder), cache.max_bytes), []

    def wait() -> None:
        with other.claim(name(1), SIZE, 30) as slot:
            got.append(slot is not None)

    with cache.claim(name(1), SIZE, 1) as slot:
        assert slot is not None
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.1)
        assert not got
        if commits:
            os.close(slot.commit())
    waiter.join(10)
    assert got == [not commits]


def test_a_shard_of_another_size_is_dropped(cache: ShardCache) -> None:
    put(cache, 1)
    assert cache.open(name(1), SIZE + 1) is None and present(cache) == set()


def test_dropping_spares_the_file_that_took_the_place(cache: ShardCache) -> None:
    put(cache, 1)
    fd = cache.open(name(1), SIZE)
    assert fd is not None
    (cache.folder / name(1)).unlink()
    put(cache, 1)
    cache.drop(name(1), fd)
    assert present(cache) == {1}


def test_foreign_files_are_neither_counted_nor_removed(cache: ShardCache) -> None:
    cache.folder.mkdir()
    foreign = ["notes.txt", ".tmp-notes", name(1)[:-1], name(1).upper()]
    for entry in foreign:
        (cache.folder / entry).write_bytes(bytes(10 * SIZE))
    put(cache, 2, 3 * SIZE)
    put(cache, 3, 3 * SIZE)
    assert {p.name for p in cache.folder.iterdir()} == {*foreign, ".lock", name(3)}


def test_room_is_made_of_what_nobody_has_open(cache: ShardCache) -> None:
    for n in (1, 2, 3):
        put(cache, n)
    fd = cache.open(name(1), SIZE)
    assert fd is not None
    assert cache.make_room(1) and present(cache) == {1, 3}
    assert cache.make_room(5 * SIZE) and present(cache) == {1}
    assert not cache.make_room(1) and present(cache) == {1}
    os.close(fd)


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cache = ShardCache(str(tmp_path / "file"), SIZE)
    with pytest.raises(WrongRequest, match=r"remote\.cache") as error:
        cache.open(name(1), SIZE)
    assert "\n" not in str(error.value) and str(tmp_path / "file") in str(error.value)
    with pytest.raises(WrongRequest), cache.claim(name(1), SIZE, 1):
        pass


def test_a_folder_emptied_by_hand_costs_nothing_but_its_shards(cache: ShardCache) -> None:
    import shutil

    with cache.claim(name(1), SIZE, 1) as slot:
        assert slot is not None
        os.pwrite(slot.fd, body(1), 0)
        shutil.rmtree(cache.folder)
        fd = slot.commit()
    assert os.pread(fd, SIZE, 0) == body(1)
    os.close(fd)
    put(cache, 2)
    assert present(cache) == {2}


def test_no_name_leads_out_of_the_folder(cache: ShardCache, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(SIZE))
    with pytest.raises(WrongData, match="sha256"):
        cache.open("../secret", SIZE)


def test_it_travels(cache: ShardCache) -> None:
    put(cache, 1)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.folder, copy.max_bytes) == (cache.folder, cache.max_bytes)


@contextmanager
def holder(cache: ShardCache, script: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `script` in a claim of shard 1 (as `slot`), up to where it prints a line."""
    lines = [
        "import os, sys, time",
        "from stages.stream.cache import ShardCache",
        f"with ShardCache({str(cache.folder)!r}, {cache.max_bytes}).claim({name(1)!r}, {SIZE}, 1) as slot:",
        *(f"    {line}" for line in script.splitlines()),
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


HALF = "os.pwrite(slot.fd, b'?' * 50, 0)\nprint('ready', flush=True)\nsys.stdin.read()"


def test_what_a_killed_process_left_is_taken_over(cache: ShardCache) -> None:
    with holder(cache, HALF) as process:
        process.kill()
        process.wait(10)
    assert (cache.folder / f".tmp-{name(1)}").exists()
    with cache.claim(name(1), SIZE, 1) as slot:
        assert slot is not None and os.pread(slot.fd, SIZE, 0) == bytes(SIZE)


def test_what_a_killed_process_left_is_removed_and_not_counted(cache: ShardCache) -> None:
    with holder(cache, HALF) as process:
        process.kill()
        process.wait(10)
    put(cache, 2, 3 * SIZE)
    assert {p.name for p in cache.folder.iterdir()} == {".lock", name(2)}


def test_a_process_that_stands_still_is_not_waited_for(cache: ShardCache) -> None:
    with holder(cache, HALF) as process:
        process.send_signal(signal.SIGSTOP)
        with cache.claim(name(1), SIZE, 0.3) as slot:
            assert slot is None
        with cache.claim(name(2), SIZE, 0.3) as slot:
            assert slot is not None  # only its own shard is held up
        process.send_signal(signal.SIGCONT)


def test_a_slow_process_is_waited_for(cache: ShardCache) -> None:
    writes = "for i in range(12):\n    time.sleep(0.1); os.pwrite(slot.fd, b'x', i)\n"
    slow = f"print('ready', flush=True)\n{writes}slot.commit()"
    with holder(cache, slow), cache.claim(name(1), SIZE, 0.6) as slot:
        assert slot is None
    assert present(cache) == {1}


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(cache: ShardCache) -> None:
    forks = "child = os.fork()\nif child == 0:\n    time.sleep(60)\n"
    forks += "print('ready', flush=True)\nprint(child, flush=True)\ntime.sleep(60)"
    with holder(cache, forks) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            process.kill()
            process.wait(10)
            with cache.claim(name(1), SIZE, 0.5) as slot:
                assert slot is not None
        finally:
            os.kill(child, signal.SIGKILL)


def test_many_threads_stay_within_the_bound(cache: ShardCache) -> None:
    worst = 0

    def work(first: int) -> None:
        mine = ShardCache(str(cache.folder), cache.max_bytes)
        for n in range(first, first + 20):
            fd = mine.open(name(n % 7), SIZE)
            if fd is None:
                with mine.claim(name(n % 7), SIZE, 5) as slot:
                    if slot is None:
                        continue
                    os.pwrite(slot.fd, body(n % 7), 0)
                    fd = slot.commit()
            assert os.pread(fd, SIZE, 0) == body(n % 7)
            os.close(fd)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        with cache._exclusive() as held:
            assert held
            worst = max(worst, total(cache))
    wait_for(lambda: not any(t.is_alive() for t in threads))
    assert 0 < worst <= cache.max_bytes and len(present(cache)) <= 3
