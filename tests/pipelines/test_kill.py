"""Builds that are killed and run again end with the bytes of an undisturbed one, and fetch no committed part twice.

Real processes, real SIGKILL. Three ways: at a random instant; at a chosen commit, just before or just after the rename;
in Ray mode, a worker instead of the driver.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from stages.store import Store
from tests.conftest import RECIPE, ROOT, Cli, Web, sets

# Runs the command line, and SIGKILLs itself at the Nth commit: before its rename, or after.
_KILLS_ITSELF = """
import os, signal, sys
from pathlib import Path
nth, moment = int(sys.argv.pop(1)), sys.argv.pop(1)
rename, seen = Path.replace, 0
def replace(self, target):
    global seen
    seen += 1
    if seen == nth and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    out = rename(self, target)
    if seen == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return out
Path.replace = replace
from pipelines.cli import console
console()
"""


def arguments(web: Web, out: Path, engine: str = "local") -> list[str]:
    """Without CLIP and SAM: loading them costs more than the rest of this build."""
    return ["build", str(RECIPE), "--out", str(out), "--engine", engine, "--json", *sets([*web.settings, *NO_CLIP])]


NO_CLIP = [
    "measure.clip=null",
    "masks=null",
    "select.rules=[{reason: too_small, keep: 'least(width, height) > 63'}, {reason: long, keep: 'caption_words < 30'}]",
    "select.best=['width * height desc']",
]


def result(out: Path) -> dict[str, str]:
    """sha256 of every file but the logs."""
    files = {n: hashlib.sha256((out / n).read_bytes()).hexdigest() for n in Store(str(out)).walk()}
    return {n: h for n, h in files.items() if not n.startswith("logs/")}


@pytest.fixture(scope="module")
def undisturbed(web: Web, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "build"
    cli(*arguments(web, out))
    found = result(out)
    assert {"manifest.json", "selection.parquet", "ledger/00000.parquet", "shards/train-000000.tar"} <= found.keys()
    return found


def committed_urls(out: Path) -> set[str]:
    """URLs of the parts whose index is committed."""
    store = Store(str(out))
    names = [n for n in store.listing("parts") if n.endswith(".parquet") and store.seal(n)]
    return {u for n in names for u in pq.read_table(out / n, columns=["url"])["url"].to_pylist() if u}


def finish_and_compare(web: Web, cli: Cli, out: Path, undisturbed: dict[str, str]) -> None:
    before, done = web.hits(), committed_urls(out)
    cli(*arguments(web, out))
    after = web.hits()
    again = [u for u in done if after.get(u, 0) != before.get(u, 0)]
    elsewhere = committed_urls(out) - done  # a URL that two rows share may be due in another part
    assert not [u for u in again if u not in elsewhere]
    assert result(out) == undisturbed


def killed_at_random(web: Web, cli: Cli, out: Path, seconds: float) -> None:
    process = cli.start(*arguments(web, out))
    time.sleep(seconds)
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("nth", "moment"), [(5, "before"), (13, "after")])
def test_killed_at_a_commit(
    web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path, nth: int, moment: str
) -> None:
    out = tmp_path / "build"
    kill_at_commit(web, out, nth, moment)
    finish_and_compare(web, cli, out, undisturbed)


def kill_at_commit(web: Web, out: Path, nth: int, moment: str) -> None:
    command = [sys.executable, "-c", _KILLS_ITSELF, str(nth), moment, *arguments(web, out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL)


def test_killed_at_a_random_instant(web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "build"
    killed_at_random(web, cli, out, random.Random(3).uniform(2.0, 5.0))
    finish_and_compare(web, cli, out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_instants(web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path, seed: int) -> None:
    out, rng = tmp_path / "build", random.Random(seed)
    for _ in range(rng.randint(1, 2)):
        killed_at_random(web, cli, out, rng.uniform(1.5, 9.0))
    finish_and_compare(web, cli, out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 3, 8, 14, 15, 20, 26, 33, 36, 40])
def test_killed_at_every_kind_of_commit(
    web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path, nth: int
) -> None:
    out = tmp_path / "build"
    kill_at_commit(web, out, nth, random.Random(nth).choice(["before", "after"]))
    finish_and_compare(web, cli, out, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
def test_ray_worker_killed(web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path, seed: int) -> None:
    out = tmp_path / "build"
    process = cli.start(*arguments(web, out, engine="ray"), "--workers", "2")
    victims = list(workers_of(process, random.Random(seed)))
    _, err = process.communicate(timeout=500)
    assert victims, "no worker was there to kill"
    assert process.returncode == 0, err
    assert result(out) == undisturbed


def workers_of(process: "subprocess.Popen[str]", rng: random.Random) -> Iterator[int]:
    """Wait for an actor of the pool, let it begin, kill it."""
    for _ in range(1200):
        if process.poll() is not None:
            return
        actors = [
            p for p in psutil.Process(process.pid).children(recursive=True) if "MapWorker" in " ".join(p.cmdline())
        ]
        if actors:
            time.sleep(rng.uniform(0.2, 3.0))
            victim = rng.choice(actors)
            if victim.is_running():
                os.kill(victim.pid, signal.SIGKILL)
                yield victim.pid
                return
        time.sleep(0.1)
