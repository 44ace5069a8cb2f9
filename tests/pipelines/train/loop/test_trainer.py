"""Runs in this process: what they write, what accumulation is, what stops them and what they refuse."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipelines.train.batches.batches import Batches
from pipelines.train.load import load_model
from pipelines.train.loop.config_file import checked
from pipelines.train.loop.record import Record, step_record
from pipelines.train.loop.result import result
from pipelines.train.loop.trainer import Ended, train
from schemas.errors import WrongData, WrongRequest
from schemas.train_loop import StepRecord
from tests.pipelines import talking as pictures
from tests.pipelines.talking import talk, talking
from tests.pipelines.train.loop import runs

SHORT: dict[str, Any] = {"steps": 2, "accumulate": 1, "freeze": {"train": "projector"}}


def go(tmp_path: Path, raw: dict[str, Any], name: str = "run", **more: Any) -> tuple[Path, Ended]:
    out = tmp_path / name
    return out, train(checked(raw, "a test"), out, **more)


def records(run: Path) -> list[StepRecord]:
    return [StepRecord.model_validate_json(line) for line in (run / "record.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    return load_file(newest / "weights.safetensors")


# ------------------------------------------------------------------ what is written


def test_a_step_names_its_samples_and_what_they_cost(undisturbed: Path) -> None:
    whole = records(undisturbed)
    assert [(r.step, r.stage, r.stage_step) for r in whole[2:5]] == [(3, "align", 3), (4, "tune", 1), (5, "tune", 2)]
    assert [step_record(undisturbed, step) for step in range(1, 10)] == whole
    for record in whole:
        tokens, sums = sum(s.label_tokens for s in record.samples), sum(s.loss for s in record.samples)
        assert record.label_tokens == tokens > 0
        assert record.loss == pytest.approx(sums / tokens)
        assert record.sources == {"build": pytest.approx(record.loss)}
        assert record.images == sum(s.images for s in record.samples)
        for kind, mean in record.kinds.items():
            mine = [s for s in record.samples if s.kind == kind]
            assert mean == pytest.approx(sum(s.loss for s in mine) / sum(s.label_tokens for s in mine))
    assert {kind for record in whole for kind in record.kinds} == {"caption", "vqa", "interleaved"}


def test_a_step_that_is_not_there(undisturbed: Path, tmp_path: Path) -> None:
    for step in (0, 10):
        with pytest.raises(WrongRequest, match=f"has no step {step}; it has 9 steps"):
            step_record(undisturbed, step)
    with pytest.raises(WrongRequest, match="is no training run"):
        step_record(tmp_path, 1)


def test_the_card_names_data_model_and_versions(shelf: Path, undisturbed: Path) -> None:
    card = (undisturbed / "README.md").read_text()
    manifest = json.loads((shelf / "build" / "manifest.json").read_text())["fingerprint"]
    assert card.count(f"| build | {manifest} | 24 |") == 2
    assert f"model: {shelf / 'clip'}" in card
    assert f"- torch {torch.__version__}" in card
    assert "Step 9, stage tune" in card
    facts = json.loads((undisturbed / "card.json").read_text())
    assert [(one["name"], one["data"][0]["manifest"]) for one in facts["stages"]] == [
        ("align", manifest), ("tune", manifest),
    ]  # fmt: skip
    again = checked(yaml.safe_load((undisturbed / "config.yaml").read_text()), "the copy")
    assert again == runs.config(shelf)


def test_the_log_has_the_times(undisturbed: Path) -> None:
    lines = [json.loads(line) for line in (undisturbed / "logs" / "steps.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [record.loss for record in records(undisturbed)]
    for line in lines:
        assert line["tokens_per_s"] > 0
        assert 0 < line["data_wait_share"] < 1
        assert 0 < line["masked_share"] < 1
        assert line["mfu"] is None  # nobody knows what this processor can
    assert b"time" not in (undisturbed / "record.jsonl").read_bytes()


def test_what_is_saved_is_what_was_learnt(undisturbed: Path) -> None:
    built, learnt = load_model(undisturbed / "stages" / "tune" / "model"), weights(undisturbed)
    name = "multi_modal_projector.linear_1.weight"
    (mine,) = (tensor for key, tensor in learnt.items() if key.endswith(name))
    assert torch.equal(built.projector.get_parameter("linear_1.weight"), mine)
    aligned = load_file(undisturbed / "stages" / "align" / "projector" / "projector.safetensors")
    assert not torch.equal(aligned["linear_1.weight"], mine)
    assert sum("lora_B" in key and bool(tensor.any()) for key, tensor in learnt.items()) == 14


# ------------------------------------------------------------------ learning


def test_accumulated_batches_are_the_one_big_batch(shelf: Path, tmp_path: Path) -> None:
    batches = {"arrange": "pad", "max_length": 96, "window": 6}
    plain = {"steps": 3, "freeze": {"train": "language"}}
    found = []
    for rows, accumulate in ((6, 1), (2, 3)):
        raw = runs.one_stage(shelf, batches={**batches, "rows": rows}, accumulate=accumulate, **plain)
        run, _ = go(tmp_path, raw, f"{rows}")
        found.append((records(run), weights(run)))
    (once, big), (thrice, small) = found
    ids = [[[(s.sample_id, s.number) for s in r.samples] for r in rs] for rs in (once, thrice)]
    assert ids[0] == ids[1]
    np.testing.assert_allclose([r.loss for r in thrice], [r.loss for r in once], rtol=1e-5)
    np.testing.assert_allclose([r.grad_norm for r in thrice], [r.grad_norm for r in once], rtol=1e-4)
    assert thrice[0].padding < once[0].padding  # shorter batches: not the same tensors
    assert big.keys() == small.keys()


def test_it_learns(shelf: Path, tmp_path: Path) -> None:
    """One answer, again and again."""
    talking(tmp_path / "build", [[talk("what is in the picture ?", "a red ball")]])
    data = {"sources": [{"path": str(tmp_path / "build"), "repeats": None}]}
    raw = runs.one_stage(shelf, data=data, steps=30, accumulate=1, freeze={"train": "language"}, optim={"lr": 0.02})
    _, ended = go(tmp_path, raw | {"checkpoints": {"every": 100}})
    assert ended.loss is not None
    assert ended.loss < 0.5
    assert records(tmp_path / "run")[0].loss > 5


def test_the_whole_stream_is_counted_and_learnt_once(shelf: Path, tmp_path: Path) -> None:
    data = {"sources": [{"path": str(shelf / "build")}], "window": 2}
    run, ended = go(tmp_path, runs.one_stage(shelf, **{**SHORT, "data": data, "steps": None, "accumulate": 3}))
    seen = [(s.sample_id, s.number) for record in records(run) for s in record.samples]
    assert len(seen) == len(set(seen)) == sum(map(len, runs.conversations()))
    assert ended.step == len(records(run)) > 3
    assert records(run)[-1].lr > 0


def test_half_precision_learns_in_whole(shelf: Path, tmp_path: Path) -> None:
    raw = runs.one_stage(shelf, **SHORT, gradient_checkpointing=True)
    raw["model"]["precision"] = "bf16"
    run, ended = go(tmp_path, raw)
    assert ended.step == 2
    assert {tensor.dtype for tensor in weights(run).values()} == {torch.float32}
    saved = load_file(run / "stages" / "tune" / "projector" / "projector.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


# ------------------------------------------------------------------ what stops it


def test_a_signal_within_a_step_saves_that_step(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.train.loop import stage_run

    learn, steps = stage_run.learn, list[int]()

    def learning(*words: Any) -> Any:
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(*words)

    monkeypatch.setattr(stage_run, "learn", learning)
    before = signal.getsignal(signal.SIGINT)  # a process in the background may ignore it
    run, ended = go(tmp_path, runs.one_stage(shelf, **{**SHORT, "steps": 8}))
    assert (ended.step, ended.stopped) == (3, "SIGINT")
    assert sorted(path.name[-1] for path in (run / "checkpoints").iterdir()) == ["2", "3"]
    assert signal.getsignal(signal.SIGINT) is before


def test_no_number_names_the_samples_and_keeps_the_checkpoint(shelf: Path, tmp_path: Path) -> None:
    raw = runs.one_stage(shelf, **{**SHORT, "optim": {"lr": 1e30, "warmup": 0}, "steps": 6})
    with pytest.raises(WrongData, match=r"(loss|gradient) of step \d \(stage tune\) is (nan|inf); its samples: 0{28}"):
        go(tmp_path, raw | {"checkpoints": {"every": 1}})
    failed = json.loads((tmp_path / "run" / "logs" / "failed.json").read_text())
    done = records(tmp_path / "run")
    assert failed["step"] == len(done) + 1
    assert failed["samples"]
    assert sorted((tmp_path / "run" / "checkpoints").iterdir())[-1].name == f"step-{len(done):08d}"


def test_a_step_without_a_label_stops(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that do not decode take all examples of a batch along."""
    whole = pictures.jpeg
    monkeypatch.setattr(pictures, "jpeg", lambda number, side=24: whole(number, side)[:300])
    talking(tmp_path / "build", [[talk("how many?", "three")]] * 4)
    data = {"sources": [{"path": str(tmp_path / "build"), "repeats": None}]}
    batches = {"max_bad_share": 1.0, "max_length": 96}
    with pytest.raises(WrongData, match="step 1 has no token to learn from"):
        go(tmp_path, runs.one_stage(shelf, **{**SHORT, "data": data, "batches": batches}))


def test_a_stream_that_ends_early_is_an_error(shelf: Path, tmp_path: Path) -> None:
    data = {"sources": [{"path": str(shelf / "build"), "where": "sample_id < '00000000000000000000000000000003'"}]}
    with pytest.raises(WrongData, match=r"stage tune: the stream ended after step \d of 50; set its steps to that"):
        go(tmp_path, runs.one_stage(shelf, **{**SHORT, "data": data, "steps": 50}))


def test_missing_packages_are_named(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name, module in (("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")):
        monkeypatch.setitem(sys.modules, module, None)
        logs = {"tensorboard": True} if name == "tensorboard" else {"wandb": "project"}
        with pytest.raises(WrongRequest, match=f"needs the package {name}"):
            go(tmp_path, runs.one_stage(shelf, **SHORT) | {"logs": logs}, name)


# ------------------------------------------------------------------ going on with something else


@pytest.fixture(scope="module")
def begun(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that was stopped after its first step, and its configuration."""
    folder = tmp_path_factory.mktemp("begun")
    raw = runs.one_stage(shelf, **{**SHORT, "steps": 3})
    add = Record.add

    def added(self: Record, record: Any, rejected: Any) -> None:
        add(self, record, rejected)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "add", added)
        run, ended = go(folder, raw)
    assert (ended.step, ended.stopped) == (1, "SIGTERM")
    return run, raw


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"optim": {"lr": 0.5, "weight_decay": 0.1}},
            r"stages\.tune\.optim\.lr: 0\.01 → 0\.5; go back .* or allow it with --allow-changed",
        ),
        ({"freeze": {"train": "lora"}}, r"stages\.tune\.freeze\.train: \"projector\" → \"lora\"; go back"),
        ({"batches": {"max_length": 64}}, r"stages\.tune\.batches\.max_length: 96 → 64"),
        ({"seed": 4}, r"seed: 0 → 4"),
    ],
)
def test_another_configuration_is_refused(
    begun: tuple[Path, dict[str, Any]], change: dict[str, Any], words: str
) -> None:
    run, raw = begun
    before = runs.pure(run)
    stage = raw["stages"][0]
    other = raw | {"stages": [stage | change]} if "seed" not in change else raw | change
    with pytest.raises(WrongRequest, match=words):
        train(checked(other, "a test"), run)
    assert runs.pure(run) == before


def test_other_data_is_refused_or_recorded(
    begun: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, raw = begun
    talking(tmp_path / "build", runs.conversations(seed=9), max_samples=7)
    data = {**raw["stages"][0]["data"], "sources": [{"path": str(tmp_path / "build"), "repeats": None}]}
    other = checked(raw | {"stages": [raw["stages"][0] | {"data": data}]}, "a test")
    with pytest.raises(WrongData, match=r"the data changed since the checkpoint: build: 4 changed"):
        train(other, run)
    moved = Batches.load_state_dict
    allowed = list[bool]()
    monkeypatch.setattr(Batches, "load_state_dict", lambda self, s, a=False: (allowed.append(a), moved(self, s, a))[1])
    assert train(other, run, allow_changed=True).step == 3
    assert allowed == [True]
    assert "build: 4 changed" in (run / "README.md").read_text()


def test_a_run_is_a_model_after_each_stage(undisturbed: Path) -> None:
    tuned, aligned = result(undisturbed), result(undisturbed, "align")
    saved = load_file(undisturbed / "stages" / "align" / "projector" / "projector.safetensors")
    assert torch.equal(aligned.projector.get_parameter("linear_1.weight"), saved["linear_1.weight"])
    assert not torch.equal(tuned.projector.get_parameter("linear_1.weight"), saved["linear_1.weight"])
    with pytest.raises(WrongRequest, match="has not done stage other; done: align, tune"):
        result(undisturbed, "other")


def test_an_endless_stream_needs_steps_and_something_to_learn(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="source build is endless and the stage has no steps"):
        go(tmp_path, runs.one_stage(shelf, **{**SHORT, "steps": None}))
    nothing = runs.one_stage(shelf, **{**SHORT, "batches": {"kinds": ["count"]}})
    with pytest.raises(WrongData, match=r"no conversation is left to train on: .* other_kind"):
        go(tmp_path, nothing, "other")
