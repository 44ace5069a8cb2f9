"""SIGKILL of a real process at random instants, against a server that counts."""

import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from stages.synthesize.endpoint.money import Budget
from tests.stages.synthesize.endpoint.batches import BatchServer
from tests.stages.synthesize.endpoint.child import batch_work, config, work
from tests.stages.synthesize.endpoint.server import CACHED, COMPLETION, PROMPT, Do, Seen, Server, completion


def slow(server: Server, seen: Seen) -> Do:
    return Do(body=completion(f"re: {seen.text}"), delay=random.uniform(0.01, 0.06))


def start(url: str, folder: Path, n: int, target: Callable[[str, Path, int], None] = work) -> "ForkServerProcess":
    """A real process, forked from a warm one: importing openai takes seconds."""
    context = multiprocessing.get_context("forkserver")
    warm = ["stages.synthesize.endpoint.transport", "openai.resources.chat.completions", "openai.resources.batches"]
    context.set_forkserver_preload([work.__module__, *warm])
    child = context.Process(target=target, args=(url, folder, n), daemon=True)
    child.start()
    return child


def kill_and_resume(folder: Path, kills: int, n: int, seed: int) -> None:
    rng = random.Random(seed)
    with Server(slow) as server:
        for _ in range(kills):
            before = len(server.seen)
            child = start(server.url, folder, n)
            while len(server.seen) == before and child.is_alive():
                time.sleep(0.005)
            assert len(server.seen) > before, child.exitcode
            time.sleep(rng.uniform(0, 0.15))
            child.kill()
            child.join()
            time.sleep(0.07)  # what the server still writes, it writes now
            check(folder, server)
        last = start(server.url, folder, n)
        last.join(60)
        assert last.exitcode == 0
        budget = check(folder, server)
    assert len(budget.cache) == n == budget.account.replies


def check(folder: Path, server: Server) -> Budget:
    """The books against the server's log, attempt by attempt."""
    settled: dict[str, str] = {}
    again = Budget(config(server.url), folder)
    for log in folder.glob("*.log"):
        for line in log.read_bytes().split(b"\n")[:-1]:
            record = json.loads(line[17:])
            if record["t"] == "reply":
                settled[record["n"]] = record["text"]
    texts = list(settled.values())
    assert len(set(texts)) == len(texts)  # none paid twice
    mine = [s for s in server.delivered if s.attempt in settled]
    assert {s.attempt for s in mine} == set(settled)
    for seen in mine:  # nothing was asked again after its reply was written
        later = [s for s in server.seen if s.text == seen.text]
        assert later[-1] is seen
    unexplained = [s for s in server.seen if s.attempt not in settled and s.attempt not in again.account.open]
    assert not unexplained
    assert again.account.tokens == len(mine) * (PROMPT + COMPLETION)
    each = (PROMPT - CACHED) * 150_000 + CACHED * 75_000 + COMPLETION * 600_000
    assert again.account.pico == len(mine) * each
    return again


def test_two_kills(tmp_path):
    kill_and_resume(tmp_path, 2, 40, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_twenty_kills(tmp_path, seed):
    kill_and_resume(tmp_path, 20, 600, seed)


def kill_and_resume_batches(folder: Path, kills: int, n: int, seed: int) -> None:
    """Killed from the first call on, while batches are drawn, uploaded, created, worked on and collected."""
    rng = random.Random(seed)
    with BatchServer(work_s=0.15) as server:
        for _ in range(kills):
            before = len(server.calls)
            child = start(server.url, folder, n, batch_work)
            while len(server.calls) == before and child.is_alive():
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.25))
            child.kill()
            child.join()
        last = start(server.url, folder, n, batch_work)
        last.join(60)
        assert last.exitcode == 0
        budget = Budget(config(server.url), folder)
    times = Counter(seen.text for seen in server.delivered)
    assert len(times) == n and set(times.values()) == {1}  # none paid twice
    assert budget.account.replies == n == len(budget.cache) and not budget.account.open
    assert budget.account.tokens == n * (PROMPT + COMPLETION)
    assert budget.account.pico == n * ((PROMPT - CACHED) * 75_000 + CACHED * 37_500 + COMPLETION * 300_000)  # half


def test_batches_survive_two_kills(tmp_path):
    kill_and_resume_batches(tmp_path, 2, 40, seed=1)


@pytest.mark.slow
def test_batches_survive_twenty_kills(tmp_path):
    kill_and_resume_batches(tmp_path, 20, 300, seed=2)


def test_two_processes_share_one_folder(tmp_path):
    with Server(slow) as server:
        children = [start(server.url, tmp_path, 40) for _ in range(2)]
        for child in children:
            child.join(60)
        assert [c.exitcode for c in children] == [0, 0]
        budget = Budget(config(server.url), tmp_path)
    assert budget.account.tokens == len(server.delivered) * (PROMPT + COMPLETION)
    assert len(budget.cache) == 40 and not budget.account.open
