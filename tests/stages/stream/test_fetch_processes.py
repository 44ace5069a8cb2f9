"""Shards over the network: what forks, ends and kills of processes do to a fetch."""

import hashlib
import multiprocessing
import pickle
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stages.stream.cache import ShardCache
from tests.stages.stream.fetching import DATA, PATH, RANGE, facts, fetched, fetcher
from tests.stages.stream.servers import Answer, Hostile, fetch_for_ever, fetch_for_parent, held_bytes

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("small_ranges")


@pytest.mark.parametrize(("method", "cached"), [("fork", True), ("fork", False), ("spawn", True)])
def test_processes_that_want_the_same_shard(
    web: tuple[Hostile, str], tmp_path: Path, method: str, cached: bool
) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(pause=0.05)
    subject = fetcher(url, cache=str(tmp_path) if cached else None)
    state.objects["/warm.tar"] = b"x"
    fetched(subject, facts(b"x", "/warm.tar"))  # the parent's event loop and connections exist before the fork
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    count = 2 if method == "fork" else 1  # spawning takes seconds
    children = [context.Process(target=fetch_for_parent, args=(subject, facts(), answers)) for _ in range(count)]
    for child in children:
        child.start()
    assert [answers.get(timeout=20) for _ in children] == [facts().sha256] * count
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    whole = 10 if method == "fork" else 1  # a spawned process has the module's own range
    assert len(state.starts(PATH)) == (whole if cached else 2 * whole)


def test_a_fork_in_the_middle_of_a_fetch(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(piece=RANGE // 8, pause=0.05)
    subject = fetcher(url, cache=str(tmp_path))
    context: Any = multiprocessing.get_context("fork")
    answers = context.Queue()
    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(fetched, subject)
        time.sleep(0.2)
        child = context.Process(target=fetch_for_parent, args=(subject, facts(), answers))
        child.start()
        assert answers.get(timeout=20) == facts().sha256 and mine.result() == DATA
    child.join(10)
    assert child.exitcode == 0 and len(state.requests) == 10


def test_it_travels(web: tuple[Hostile, str]) -> None:
    assert fetched(pickle.loads(pickle.dumps(fetcher(web[1])))) == DATA


def test_a_process_can_end_while_a_fetch_stalls(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(stop_after=0, then="stall")
    script = f"""
import time
from concurrent.futures import ThreadPoolExecutor
from schemas.stream import RemoteConfig
from stages.store import Store
from stages.stream.fetch import Fetcher
from schemas.manifest import FileEntry
pool = ThreadPoolExecutor(1)
pool.submit(Fetcher(Store({url!r}), RemoteConfig(), True).fetch, {facts()!r})
time.sleep(0.5)
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
    assert state.requests and time.monotonic() - began < 15  # stall_seconds is 30


@pytest.mark.parametrize("kills", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_kills_leave_nothing_wrong_nothing_too_much_and_nothing_locked(
    web: tuple[Hostile, str], tmp_path: Path, kills: int
) -> None:
    state, url = web
    shards = []
    for n in range(20):
        data = DATA[n * 1000 : n * 1000 + 300_000 + n]
        state.objects[f"/{n}.tar"] = data
        state.scripts[f"/{n}.tar"] = lambda _n, _r: Answer(piece=RANGE // 4, pause=0.002)
        shards.append(facts(data, f"/{n}.tar"))
    cache = ShardCache(str(tmp_path), 5 * 300_100)
    subject = fetcher(url, cache=str(tmp_path), cache_bytes=cache.max_bytes)
    context: Any = multiprocessing.get_context("fork")
    dice = random.Random(7)

    def start() -> Any:
        child = context.Process(target=fetch_for_ever, args=(subject, shards, dice.random()), daemon=True)
        child.start()
        return child

    children = [start() for _ in range(4)]
    most = 0
    for _ in range(kills):
        time.sleep(dice.uniform(0.02, 0.15))
        with cache._exclusive() as held:
            assert held
            most = max(most, held_bytes(tmp_path))
        victim = dice.randrange(4)
        assert all(c.is_alive() for c in children), [c.exitcode for c in children]
        children[victim].kill()
        children[victim].join(10)
        children[victim] = start()
    for child in children:
        child.kill()
        child.join(10)
    assert 300_000 <= most <= cache.max_bytes
    for path in tmp_path.iterdir():
        assert len(path.name) != 64 or hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    asked = len(state.requests)
    for shard in shards:
        assert hashlib.sha256(fetched(subject, shard)).hexdigest() == shard.sha256
    assert len(state.requests) > asked
    left = {p.name for p in tmp_path.iterdir()}
    assert len(left) == 6 and ".lock" in left and not any(n.startswith(".tmp-") for n in left)
