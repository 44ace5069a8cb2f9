"""What forked processes know of one another's checks."""

import hashlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import WrongData
from schemas.stream import RemoteConfig
from stages.store import Store
from stages.stream import fetch, shards
from stages.stream.fetch import Fetcher
from stages.stream.marks import Mark, Marks
from tests.stages.stream.fetching import DATA, facts
from tests.stages.stream.servers import Hostile

FORK = multiprocessing.get_context("fork")


def test_a_forked_process_marks_for_all_and_a_pickled_copy_begins_anew() -> None:
    marks = Marks(3)
    child = FORK.Process(target=marks[1].set)
    child.start()
    child.join()
    assert [bool(marks[i]) for i in range(3)] == [False, True, False]
    assert not pickle.loads(pickle.dumps(marks))[1]


def held_forever(mark: Mark, begun: int) -> None:
    with mark.one_at_a_time():
        os.write(begun, b"x")
        time.sleep(600)


def test_who_is_killed_while_checking_lets_the_next_one_in() -> None:
    mark, (read, write) = Marks(2)[1], os.pipe()
    child = FORK.Process(target=held_forever, args=(mark, write))
    child.start()
    os.read(read, 1)
    entered = threading.Event()

    def enter() -> None:
        with mark.one_at_a_time():
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.1)
    os.kill(child.pid or 0, signal.SIGKILL)
    waiting.join(30)
    child.join()
    assert entered.is_set()
    os.close(read)
    os.close(write)


def test_a_wrong_shard_is_not_marked() -> None:
    mark, data = Marks(1)[0], memoryview(b"a shard")
    with pytest.raises(WrongData, match="sha256"):
        shards._compare(data, "0" * 64, mark, "shard")
    assert not mark
    shards._compare(data, hashlib.sha256(data).hexdigest(), mark, "shard")
    assert mark


def test_a_cached_shard_that_another_worker_has_checked_is_not_hashed_again(
    web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = web
    config, mark = RemoteConfig(cache=str(tmp_path)), Marks(1)[0]
    os.close(Fetcher(Store(url), config, check=True).fetch(facts(), mark))
    assert mark
    monkeypatch.setattr(fetch, "FileHash", None)
    fd = Fetcher(Store(url), config, check=True).fetch(facts(), mark)
    assert os.pread(fd, len(DATA), 0) == DATA
    os.close(fd)
