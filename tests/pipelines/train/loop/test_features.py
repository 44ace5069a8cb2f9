"""Runs that keep the tower's features: the same losses, and a picture is seen once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.train.loop.config_file import checked
from pipelines.train.loop.trainer import train
from tests.pipelines.train.loop import runs
from tests.pipelines.train.loop.command import ran
from tests.pipelines.train.loop.test_process import KILLED, words

STEPS = 10  # all pictures, and some again


def raw(shelf: Path, kept: Path | None, precision: str) -> dict[str, Any]:
    """The first stage alone."""
    run = runs.raw(shelf)
    stage = run["stages"][0] | {"steps": STEPS} | ({"features": {"folder": str(kept)}} if kept else {})
    return run | {"stages": [stage], "model": run["model"] | {"precision": precision}}


def trained(shelf: Path, out: Path, kept: Path | None, precision: str = "bf16") -> Path:
    assert train(checked(raw(shelf, kept, precision), "a test"), out).step == STEPS
    return out


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "record.jsonl").read_text().splitlines()]


def seen(run: Path) -> int:
    """Pictures that the tower saw."""
    return sum(json.loads(line)["tower_squares"] for line in (run / "logs" / "steps.jsonl").read_text().splitlines())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_kept_features_give_the_same_losses_and_a_picture_is_seen_once(
    shelf: Path, tmp_path: Path, precision: str
) -> None:
    plain = trained(shelf, tmp_path / "plain", None, precision)
    first = trained(shelf, tmp_path / "first", tmp_path / "kept", precision)
    assert (seen(plain), seen(first)) == (STEPS * 3, runs.SAMPLES)
    if precision == "bf16":
        second = trained(shelf, tmp_path / "second", tmp_path / "kept", precision)
        assert seen(second) == 0
        assert losses(plain) == losses(first) == losses(second)
    else:
        np.testing.assert_allclose(losses(first), losses(plain), rtol=2**-8)
        assert losses(plain) != losses(first)  # features are rounded


def test_a_file_that_is_torn_is_seen_again(shelf: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = trained(shelf, tmp_path / "first", kept)
    files = sorted(kept.glob("*/*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:-7])
    again = trained(shelf, tmp_path / "again", kept)
    assert 0 < seen(again) < runs.SAMPLES
    assert losses(again) == losses(first)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_it_is_the_same_to_the_bit(shelf: Path, tmp_path: Path) -> None:
    undisturbed = trained(shelf, tmp_path / "undisturbed", tmp_path / "its", "fp32")
    line = words(tmp_path, raw(shelf, tmp_path / "kept", "fp32"))
    places = ["1:record", "4:checkpoint", "7:record"]
    *killed, done = ran(*(["--die", place, *line] for place in places), line)
    assert [code for code, _, _ in killed] == [KILLED] * 3
    assert done[0] == 0, done
    pure = [runs.pure(run)["record.jsonl"] for run in (tmp_path / "run", undisturbed)]
    assert pure[0] == pure[1]
    assert f"features of {runs.SAMPLES} pictures" in done[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_processes_use_one_folder(shelf: Path, tmp_path: Path, parallel: str) -> None:
    """Half the batch in each of two; the second run reads what both wrote."""
    run = raw(shelf, tmp_path / "kept", "fp32")
    run["parallel"] = parallel
    run["stages"][0]["batches"]["rows"] = 2
    for name in ("first", "second"):
        ((code, _, told),) = ran(["--ranks", "2", *words(tmp_path, run, name)])
        assert code == 0, told
    assert losses(tmp_path / "second") == losses(tmp_path / "first")
    assert seen(tmp_path / "first") >= runs.SAMPLES
    assert seen(tmp_path / "second") == 0
