"""Through Ray Train a run is what it is under torchrun, and its errors are said as they are."""

import os
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from pipelines.commands.train import train as command
from pipelines.train.loop.config_file import checked
from schemas.errors import Stopped, WrongRequest
from tests.pipelines.train.loop import runs
from tests.pipelines.train.loop.command import ran
from tests.pipelines.train.loop.test_process import words


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 2}, "--workers and --address are for --engine ray"),
        ({"address": "auto"}, "--workers and --address are for --engine ray"),
        ({"engine": "slurm"}, "--engine 'slurm' is none; take local or ray"),
    ],
)
def test_options_without_their_engine(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    path = runs.written(tmp_path, "c.yaml", runs.raw(tmp_path))
    with pytest.raises(WrongRequest, match=said):
        command(str(path), tmp_path / "run", **options)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_are_two_processes_to_the_bit(shelf: Path, tmp_path: Path) -> None:
    from pipelines.train.loop.ray_run import train_by_ray

    raw = runs.raw(shelf)
    ((code, _, told),) = ran(["--ranks", "2", *words(tmp_path, raw, "torchrun")])
    assert code == 0, told
    said = list[str]()
    ended = train_by_ray(checked(raw, "a test"), tmp_path / "ray", 2, None, say=said.append)
    assert (ended.step, ended.stopped) == (9, None)
    assert ended.loss is not None
    assert any(line.startswith("stage tune is done") for line in said), said
    mine, theirs = runs.pure(tmp_path / "ray"), runs.pure(tmp_path / "torchrun")
    assert mine.keys() == theirs.keys()
    assert [name for name in theirs if mine[name] != theirs[name]] == []
    newest = [sorted((tmp_path / n / "checkpoints").glob("step-*"))[-1] for n in ("ray", "torchrun")]
    a, b = (load_file(folder / "optimizer.safetensors") for folder in newest)
    assert a.keys() == b.keys()
    assert all((a[name] == b[name]).all() for name in a)
    assert not (tmp_path / "ray" / "logs" / "ray").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_worker_refuses_is_said_as_it_is(shelf: Path, tmp_path: Path) -> None:
    from pipelines.train.loop.ray_run import train_by_ray

    raw = runs.one_stage(shelf, steps=2, freeze={"train": "lora", "lora": {"targets": ["nothing"]}})
    with pytest.raises(WrongRequest, match="the language model has no linear layer 'nothing'"):
        train_by_ray(checked(raw, "a test"), tmp_path / "run", 2, None, say=lambda line: None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_first_worker_alone_meets_ends_all(shelf: Path, tmp_path: Path) -> None:
    """The second one waits for it, and need not wait for ever."""
    from ray.train import TrainingFailedError

    from pipelines.train.loop.ray_run import train_by_ray

    out = tmp_path / "run"
    (out / "logs").mkdir(parents=True)
    (out / "logs" / "lock").touch()
    (out / "record.jsonl").mkdir()  # the first worker alone writes there
    with pytest.raises(TrainingFailedError, match=r"Is a directory: '.*record\.jsonl'"):
        train_by_ray(checked(runs.one_stage(shelf, steps=2), "a test"), out, 2, None, say=lambda line: None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_room_it_says_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.util.placement_group import placement_group

    from pipelines.engine.ray import RayEngine
    from pipelines.train.loop import ray_run

    monkeypatch.setenv(ray_run._PATIENCE_ENV, "2")
    engine = RayEngine(2)
    engine.start()
    try:
        assert placement_group([{"CPU": ray.cluster_resources()["CPU"] - 1}]).wait(60)
        with pytest.raises(Stopped, match=r"not started 2 workers: .*timed out after 2\.0 seconds") as found:
            ray_run._fitted({}, tmp_path / "ray", 2, False)
    finally:
        engine.close()
    assert f"give it longer ({ray_run._PATIENCE_ENV}, seconds)" in str(found.value)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_have_our_priority(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own default, 15 steps less, keeps them from running wherever something else does."""
    import ray

    from pipelines.train.loop import ray_run

    def fitted(told: dict[str, Any], storage: Path, workers: int, cuda: bool) -> dict[str, Any]:
        nice = ray.get(ray.remote(lambda: os.nice(0)).remote())
        return {"step": nice, "stopped": None, "loss": None}

    monkeypatch.delenv(ray_run._NICENESS_ENV, raising=False)
    monkeypatch.setattr(ray_run, "_fitted", fitted)
    ended = ray_run.train_by_ray(runs.config(shelf), tmp_path / "run", 1, None, say=lambda line: None)
    assert ended.step == os.nice(0)
