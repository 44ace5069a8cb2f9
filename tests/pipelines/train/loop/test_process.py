"""Whole processes. Killed and resumed, a run is the undisturbed one to the bit: losses, gradients' lengths, samples,
weights, card. What stops it says so in words and in its exit code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipelines.train.loop.record import step_record
from tests.pipelines.train.loop import runs
from tests.pipelines.train.loop.command import ran

KILLED = -9


def same(run: Path, undisturbed: Path) -> None:
    mine, theirs = runs.pure(run), runs.pure(undisturbed)
    assert mine.keys() == theirs.keys()
    assert len(mine["record.jsonl"].splitlines()) == 9
    assert [name for name in theirs if mine[name] != theirs[name]] == []
    steps = [json.loads(line)["step"] for line in (run / "logs" / "steps.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 10))


def words(tmp_path: Path, raw: dict[str, Any], name: str = "run") -> list[str]:
    return ["train", str(runs.written(tmp_path, f"{name}.yaml", raw)), "--out", str(tmp_path / name)]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name[-2:] for path in (run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def outcomes(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Exit code, stdout and stderr of a run that is killed, killed, out of space, stopped and done; and of three that
    are wrong."""
    folder = tmp_path_factory.mktemp("process")
    line = words(folder, runs.raw(shelf))
    (folder / "taken").mkdir()
    (folder / "taken" / "file").touch()
    jobs = {
        "killed": ["--die", "5:record", *line],
        "torn": ["--die", "6:checkpoint", *line],
        "full": ["--largest", "9000", *line],
        "stopped": ["--term", "7", *line],
        "done": line,
        "unknown": words(folder, runs.one_stage(shelf) | {"stepz": 3}, "unknown"),
        "taken": words(folder, runs.one_stage(shelf), "taken"),
        "nothing": words(folder, runs.one_stage(shelf, batches={"kinds": ["count"]}), "nothing"),
    }
    found = dict(zip(jobs, ran(*jobs.values()), strict=True))
    return {**found, "run": (0, str(folder / "run"), "")}


def test_killed_stopped_and_out_of_space_it_is_the_same_to_the_bit(
    outcomes: dict[str, tuple[int, str, str]], undisturbed: Path
) -> None:
    codes = {name: outcomes[name][0] for name in ("killed", "torn", "full", "stopped", "done")}
    assert codes == {"killed": KILLED, "torn": KILLED, "full": 1, "stopped": 0, "done": 0}, outcomes
    same(Path(outcomes["run"][1]), undisturbed)


def test_it_says_how_it_ended(outcomes: dict[str, tuple[int, str, str]]) -> None:
    full = outcomes["full"][2]
    assert "pairmill: the checkpoint of step 6 cannot be written to" in full
    assert "(File too large); that of step 4 is whole; free space there, then run the same command again" in full
    assert outcomes["stopped"][1] == "SIGTERM: saved after step 7; the same command goes on\n"
    assert outcomes["done"][1].startswith("done after step 9, loss ")


def test_wrong_requests_end_with_2_and_wrong_data_with_1(outcomes: dict[str, tuple[int, str, str]]) -> None:
    said = {name: outcomes[name] for name in ("unknown", "taken", "nothing")}
    assert [code for code, _, _ in said.values()] == [2, 2, 1], said
    assert "stepz" in said["unknown"][2]
    assert "is not empty and holds no run" in said["taken"][2]
    assert "no conversation is left to train on" in said["nothing"][2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_five_times_it_is_the_same_to_the_bit(shelf: Path, undisturbed: Path, tmp_path: Path) -> None:
    line = words(tmp_path, runs.raw(shelf))
    places = ["1:record", "3:checkpoint", "4:record", "6:checkpoint", "9:record"]
    *killed, done = ran(*(["--die", place, *line] for place in places), line)
    assert [code for code, _, _ in killed] == [KILLED] * 5
    assert done[0] == 0, done
    same(tmp_path / "run", undisturbed)


def trained(run: Path) -> tuple[list[float], dict[str, np.ndarray], list[list[tuple[str, int]]]]:
    """Losses, weights, samples."""
    records = [step_record(run, step) for step in range(1, 4)]
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    ids = [sorted((s.sample_id, s.number) for s in record.samples) for record in records]
    return [r.loss for r in records], load_file(newest / "weights.safetensors"), ids


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_processes_are_one_with_twice_the_batch(shelf: Path, tmp_path: Path, parallel: str) -> None:
    batches = {"max_length": 96, "row_length": 128, "window": 6}
    plain = {"steps": 3, "accumulate": 2, "freeze": {"train": "language"}, "parallel": parallel}
    one = runs.one_stage(shelf, batches={**batches, "rows": 2}, **plain)
    two = runs.one_stage(shelf, batches={**batches, "rows": 1}, **plain)
    alone, both = ran(words(tmp_path, one, "one"), ["--ranks", "2", *words(tmp_path, two, "two")])
    assert (alone[0], both[0]) == (0, 0), (alone, both)
    losses, weights, ids = trained(tmp_path / "one")
    theirs, others, their_ids = trained(tmp_path / "two")
    assert their_ids == ids
    np.testing.assert_allclose(theirs, losses, rtol=1e-4)
    assert others.keys() == weights.keys()
    for name, weight in weights.items():
        assert np.abs(others[name] - weight).mean() < 1e-4, name  # Adam makes much of what is almost no gradient
    saved = [load_file(tmp_path / n / "stages" / "tune" / "model" / "model.safetensors") for n in ("one", "two")]
    assert saved[0].keys() == saved[1].keys()
