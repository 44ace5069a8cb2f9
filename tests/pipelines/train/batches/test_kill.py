"""A run SIGKILLed five times, each time resumed in a new process, has the batches of an undisturbed one to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.pipelines.talking import talking
from tests.pipelines.train.batches.test_batches import SAID


def started(build: Path, state: Path, log: Path, seed: int) -> subprocess.Popen[bytes]:
    """With hashes of strings of its own: nothing may rest on the order of a set."""
    command = [sys.executable, "-m", "tests.pipelines.train.batches.rank", str(build), str(state), str(log)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(seed)})


def whole_lines(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_five_times_the_batches_are_the_same_to_the_bit(tmp_path: Path) -> None:
    build, state = tmp_path / "build", tmp_path / "state.json"
    talking(build, SAID, max_samples=7)
    undisturbed = tmp_path / "undisturbed.log"
    assert started(build, tmp_path / "none", undisturbed, 0).wait(300) == 0
    dice, got, kills = random.Random(1), list[Any](), 0
    for attempt in range(20):
        log = tmp_path / f"{attempt}.log"
        process = started(build, state, log, attempt + 1)
        if kills < 5:
            wanted = dice.randint(1, 8)
            while process.poll() is None and len(whole_lines(log)) < wanted:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        process.wait(300)
        seen = whole_lines(log)
        got += seen
        if got[-1] == "end":
            break
        state.write_text(json.dumps(got[-1][3]))
    assert kills == 5
    assert got == whole_lines(undisturbed)
