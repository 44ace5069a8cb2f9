"""The loop's parts: tensors on disk, checkpoints, rates, losses, arithmetic, configuration."""

import errno
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines.train.batches.loss import label_loss
from pipelines.train.loop import checkpoint as module
from pipelines.train.loop.checkpoint import Checkpoints
from pipelines.train.loop.config_file import load_config
from pipelines.train.loop.faults import memory_told
from pipelines.train.loop.optim import factor, make_optimizer, set_rate
from pipelines.train.loop.record import Appended
from pipelines.train.loop.snapshot import Snapshot, random_state, seed_all, set_random_state
from pipelines.train.loop.step import token_losses
from pipelines.train.loop.tensors import Hashed, write_tensors
from schemas.errors import Stopped, WrongData, WrongRequest
from schemas.train_loop import OptimConfig
from tests.pipelines.train.loop import runs

# ------------------------------------------------------------------ checkpoints


def test_tensors_are_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {
        "flag": torch.tensor([True, False, True]),
        "half": torch.randn(3, 5).bfloat16(),
        "step": torch.tensor(3.0),
        "turned": torch.randn(4, 6).T,
        "none": torch.zeros(0, 4),
        "long": torch.arange(7),
    }
    with (tmp_path / "t").open("wb", buffering=0) as file:
        out = Hashed(file)
        write_tensors(out, tensors)
    found = load_file(tmp_path / "t")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    assert out.size == (tmp_path / "t").stat().st_size


def snapshot(value: float) -> Snapshot:
    return Snapshot({"w": torch.full((64,), value)}, {"w/step": torch.tensor(value)}, {"value": value})


def saved(folder: Path, steps: int, keep: int = 2) -> Checkpoints:
    made = Checkpoints(folder, keep)
    for step in range(1, steps + 1):
        made.save(step, snapshot(step), [])
    made.wait()
    return made


def test_the_newest_stay_and_load(tmp_path: Path) -> None:
    made = saved(tmp_path, 4)
    assert made.whole() == [3, 4]
    found = made.load(4)
    assert (found.state, found.weights["w"][0], found.moments["w/step"]) == ({"value": 4}, 4, 4)


def test_what_is_half_done_does_not_count(tmp_path: Path) -> None:
    made = saved(tmp_path, 2)
    (made.path(2) / "DONE").unlink()
    (tmp_path / "step-00000003.part").mkdir()
    assert made.whole() == [1]
    made.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_file_that_the_disk_lost_is_refused(tmp_path: Path, name: str) -> None:
    made = saved(tmp_path, 1)
    path = made.path(1) / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(WrongData, match=rf"{name} is not as it was written; the disk lost it: remove .*step-00000001"):
        made.load(1)
    path.unlink()
    with pytest.raises(WrongData, match=rf"{name} is not as it was written"):
        made.load(1)


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "free space there"), (errno.EIO, "see to the disk")])
def test_an_error_in_the_thread_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    made = saved(tmp_path, 1)

    def full(out: Any, tensors: Any) -> None:
        raise OSError(number, "no way")

    monkeypatch.setattr(module, "write_tensors", full)
    made.save(2, snapshot(2), [])
    with pytest.raises(Stopped, match=rf"of step 2 .*\(no way\); that of step 1 is whole; {remedy}"):
        made.wait()
    assert made.whole() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_bug_in_the_thread_ends_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_tensors", lambda out, tensors: 1 // 0)
    made = Checkpoints(tmp_path, 1)
    made.save(1, snapshot(1), [])
    with pytest.raises(ZeroDivisionError):
        made.save(2, snapshot(2), [])


def test_a_file_is_cut_back_to_the_checkpoint_and_never_made_longer(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\ntorn")
    lines = Appended(path, 4)
    lines.add(b"2\n")
    lines.close()
    assert path.read_bytes() == b"one\n2\n"
    with pytest.raises(WrongData, match="has 6 bytes, and the checkpoint says 9"):
        Appended(path, 9)


def test_random_numbers_go_on_where_they_were() -> None:
    import random

    import numpy as np

    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), torch.rand(1).item()]

    cpu = torch.device("cpu")
    seed_all(1, 2)
    drawn()
    state = random_state(cpu)
    expected = drawn()
    drawn()
    set_random_state(state, cpu)
    assert drawn() == expected
    seed_all(1, 2)
    first = drawn()
    seed_all(2, 1)
    assert drawn() != first


# ------------------------------------------------------------------ arithmetic


def test_the_rate_rises_and_falls_as_said() -> None:
    config = OptimConfig(warmup=0.2, floor=0.1)
    found = [factor(step, 10, config) for step in range(10)]
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[6] == pytest.approx(0.1 + 0.9 * 0.5)
    assert found[9] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert factor(0, 1, OptimConfig(warmup=0)) == 1


def test_groups_have_their_own_rates_and_no_decay_of_biases() -> None:
    named = {
        "model.multi_modal_projector.w": torch.nn.Parameter(torch.zeros(2, 2)),
        "model.language_model.w": torch.nn.Parameter(torch.zeros(2, 2)),
        "model.language_model.b": torch.nn.Parameter(torch.zeros(2)),
    }
    config = OptimConfig(lr=0.1, projector_lr=0.01, weight_decay=0.5, warmup=0)
    made = make_optimizer(named, config)
    assert set_rate(made, 0, 10, config) == 0.1
    found = {id(p): (g["lr"], g["weight_decay"]) for g in made.param_groups for p in g["params"]}
    assert [found[id(p)] for p in named.values()] == [(0.01, 0.5), (0.1, 0.5), (0.1, 0.0)]


def test_token_losses_add_up_to_the_loss() -> None:
    logits, labels = torch.randn(2, 7, 11), torch.randint(0, 11, (2, 7))
    labels[0, :4] = labels[1, 5:] = -100
    each = token_losses(logits, labels)
    assert each.shape == (2, 6)
    assert each[0, :3].eq(0).all()
    assert each[1, 4:].eq(0).all()
    assert (each.sum() / 7).item() == pytest.approx(label_loss(logits, labels, 7).item(), rel=1e-6)


def test_no_memory_is_said_with_what_fills_it(tmp_path: Path) -> None:
    stage = runs.config(tmp_path).stages[1]
    with (
        pytest.raises(
            WrongRequest, match=r"out of memory in stage tune: a batch is rows × row_length = 1 × 128 tokens"
        ),
        memory_told(stage),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(WrongRequest, match=r"lower batches\.rows"), memory_told(stage):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another thing"), memory_told(stage):
        raise RuntimeError("another thing")


# ------------------------------------------------------------------ configuration


def test_data_takes_the_place_of_the_files(tmp_path: Path) -> None:
    raw = runs.raw(tmp_path)
    del raw["stages"][0]["data"]
    path = str(runs.written(tmp_path, "c.yaml", raw))
    found = load_config(path, ["elsewhere"])
    assert [stage.data.sources[0].path for stage in found.stages] == ["elsewhere", "elsewhere"]
    with pytest.raises(WrongRequest, match=r"stages\.0\.data: Field required"):
        load_config(path)
    with pytest.raises(WrongRequest, match="no stage has such a source"):
        load_config(path, ["other=elsewhere"])


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="cannot be read"):
        load_config(str(tmp_path / "none.yaml"))
    for change, words in [
        ({"base": "x"}, "set one of model and base"),
        ({"stages": [runs.raw(tmp_path)["stages"][0]] * 2}, "two stages are called 'align'"),
        ({"stages": []}, "stages: List should have at least 1 item"),
    ]:
        path = runs.written(tmp_path, "c.yaml", runs.raw(tmp_path) | change)
        with pytest.raises(WrongRequest, match=words):
            load_config(str(path))
