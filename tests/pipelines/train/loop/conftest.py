"""The shelf, and an undisturbed run over it."""

from pathlib import Path

import pytest
import torch

from pipelines.train.loop.trainer import train
from tests.pipelines.train.loop import runs

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip/, llama/, build/."""
    folder = tmp_path_factory.mktemp("shelf")
    runs.shelf(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of `runs.config`, trained in one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    ended = train(runs.config(shelf), out)
    assert (ended.step, ended.stopped) == (9, None)
    return out
