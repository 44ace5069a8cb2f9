"""A run SIGKILLed at random and resumed on another number of ranks and workers sees the undisturbed sequence."""

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

from schemas.stream import StreamConfig
from stages.stream.batches import BatchReader
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.stages.stream.conftest import MakeBuild, config


def started(folder: Path, world: int, workers: int) -> list[subprocess.Popen[bytes]]:
    """The ranks of a run, each in a process group of its own, so that its workers die with it."""
    environment = {**os.environ, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    files = [str(folder / "config.json"), str(folder / "state.json")]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.stages.stream.rank", *files, str(folder / f"rank{rank}.log"), str(workers)],
            env={**environment, "RANK": str(rank)},
            start_new_session=True,
        )
        for rank in range(world)
    ]


def records(folder: Path, world: int) -> list[list[list[Any]]]:
    """Whole lines of each rank's log."""
    logs = [(folder / f"rank{rank}.log") for rank in range(world)]
    lines = [log.read_text().split("\n")[:-1] if log.exists() else [] for log in logs]
    return [[json.loads(line) for line in found] for found in lines]


def begun(folder: Path, world: int) -> bool:
    return all(records(folder, world))


def killed_after(folder: Path, processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Waits until every rank has read something, then the seconds, then kills all."""
    deadline = time.monotonic() + 120
    while not begun(folder, len(processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(seconds)
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def taken(folder: Path, settings: StreamConfig, world: int) -> tuple[list[str], bool]:
    """Ids of the steps that all ranks finished, in order; writes the state after them. True: the run has ended."""
    ranks = records(folder, world)
    ended = all(found and found[-1] == ["end"] for found in ranks)
    batches = [record for found in ranks for record in found if record != ["end"]]
    stream = Stream(settings)
    state = folder / "state.json"
    begin = json.loads(state.read_text())["position"] if state.exists() else 0
    reached = [max([r[1] for r in found if r != ["end"]], default=begin) for found in ranks]
    whole = max(reached) if ended else min(reached)
    state.write_text(json.dumps(stream.state_dict(whole)))
    for rank in range(world):
        (folder / f"rank{rank}.log").unlink(missing_ok=True)
    return [i for record in sorted(batches) if record[1] <= whole for i in record[2]], ended


def disturbed(folder: Path, settings: StreamConfig, kills: int, shapes: list[tuple[int, int]]) -> list[str]:
    """The sequence of a run that is killed `kills` times; `shapes`: ranks and workers, in turn."""
    (folder / "config.json").write_text(settings.model_dump_json())
    dice, got = random.Random(0), []
    for attempt in range(kills + 1):
        world, workers = shapes[attempt % len(shapes)]
        processes = started(folder, world, workers)
        if attempt < kills:
            killed_after(folder, processes, dice.uniform(0, 0.25))
        else:
            assert [p.wait(timeout=240) for p in processes] == [0] * world
        ids, ended = taken(folder, settings, world)
        got += ids
        assert ended == (attempt == kills), "the run ended before it was killed often enough"
    return got


def settings_for(make_build: MakeBuild, samples: int) -> StreamConfig:
    paths = make_build("a", samples, per_shard=16), make_build("b", samples // 2, per_shard=16, first=samples)
    return config(*paths, repeats=2, batch=2)


def undisturbed(settings: StreamConfig) -> list[str]:
    return [i for batch in BatchReader(settings, Topology()) for i in batch.sample_id]


def test_a_killed_run_goes_on_exactly(make_build: MakeBuild, tmp_path: Path) -> None:
    settings = settings_for(make_build, 320)
    assert disturbed(tmp_path, settings, 1, [(2, 0), (1, 2)]) == undisturbed(settings)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_killed_ten_times_on_other_ranks_each_time(make_build: MakeBuild, tmp_path: Path) -> None:
    settings = settings_for(make_build, 2400)
    shapes = [(1, 0), (2, 1), (4, 0), (8, 0), (2, 2), (1, 4), (4, 1), (2, 0), (8, 0), (1, 2), (4, 2)]
    got = disturbed(tmp_path, settings, 10, shapes)
    assert got == undisturbed(settings)
