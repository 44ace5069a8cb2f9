"""Through Ray Train a run is what it is under torchrun, and its errors are said as they are."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from pipelines.commands.train import train as command
from pipelines.train.loop.config_file import checked
from schemas.errors import WrongRequest
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
