"""Options of a run that change nothing of what is learnt: compiled layers, other logs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.train.loop.config_file import checked
from pipelines.train.loop.trainer import train
from tests.pipelines.train.loop import runs

SHORT: dict[str, Any] = {"steps": 3, "accumulate": 1}
BOARD = ("loss", "grad_norm", "tokens_per_s", "data_wait_share", "padding_share", "loss_by_kind/vqa")


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "logs" / "steps.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("learns", ["projector", "lora"])
def test_compiled_layers_learn_the_same(shelf: Path, tmp_path: Path, learns: str) -> None:
    """Without dropout, whose numbers a compiled layer draws otherwise."""
    import torch

    freeze = {"train": learns, "lora": {"rank": 4, "alpha": 8, "dropout": 0.0}}
    batches = {"max_length": 96, "row_length": 128, "window": 6, "full_rows": True}
    raw = runs.one_stage(shelf, **SHORT, freeze=freeze, batches=batches)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    found = []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        train(checked(raw | {"compile": compiled}, "a test"), out)
        found.append([(line["loss"], line["grad_norm"]) for line in lines(out)])
        assert bool(torch._dynamo.utils.counters["stats"]["unique_graphs"]) == compiled
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.slow
def test_tensorboard_has_what_the_log_has(shelf: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    raw = runs.one_stage(shelf, **SHORT, freeze={"train": "projector"})
    train(checked(raw | {"logs": {"tensorboard": True}}, "a test"), tmp_path / "run")
    board = EventAccumulator(str(tmp_path / "run" / "logs" / "tensorboard"))
    board.Reload()
    assert set(BOARD) <= set(board.Tags()["scalars"])
    told = lines(tmp_path / "run")
    for name in BOARD[:-1]:
        points = board.Scalars(name)
        assert [point.step for point in points] == [1, 2, 3]
        np.testing.assert_allclose([point.value for point in points], [line[name] for line in told], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wandb_needs_no_network(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline it writes into the run's folder."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    raw = runs.one_stage(shelf, **SHORT, freeze={"train": "projector"})
    train(checked(raw | {"logs": {"wandb": "pairmill-test"}}, "a test"), tmp_path / "run")
    (file,) = (tmp_path / "run" / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    kept = (tmp_path / "run" / "logs" / "wandb-id").read_text()
    assert kept in file.name
    assert file.stat().st_size > 0
