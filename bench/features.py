"""`python -m bench features [--model tiny|vit-l|vit-l-336] [--language tiny|1b|7b] [--device cpu|cuda]`: stage 1 with
the tower's features kept on disk against seeing every picture again.

The same weights, pictures and order in every way, through `pairmill train` itself: projector alone, captions, one row
for each. recompute: no cache. first pass: the tower sees each picture once, and files are written. kept: the tower sees
none. CPU s/step: processor time of all threads. A figure is the median over a run's steps but its first two, and over
the repetitions, which go by turns.

Weights are random: they are enough for time. tiny is the demo's size. Needs transformers, tokenizers, pyarrow, duckdb
and numpy beside torch; neither ray nor open_clip nor peft.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.harness import report
from bench.train_parts import LANGUAGES, TOWERS, captioned, random_parts

_WAYS = ("recompute", "first pass", "kept")
_WARM = 2


def run(args: list[str]) -> None:
    """Measure, print, write bench/results/features[-MODEL-LANGUAGE-DEVICE].md and .json."""
    asked = _arguments(args)
    with random_parts(asked, "features") as (folder, dtype):
        _measure(asked, folder, dtype)


def _measure(asked: Any, folder: Path, dtype: Any) -> None:
    import torch

    captioned(folder / "data", asked.steps * asked.rows)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS}
    for turn in range(asked.repeat):
        shutil.rmtree(folder / "kept", ignore_errors=True)
        for way in _WAYS:
            found[way].append(_run(asked, folder, way, turn))
    stored = sum(path.stat().st_size for path in (folder / "kept").rglob("*.safetensors"))
    plain = statistics.median(one["seconds"] for one in found["recompute"])
    rows = [_row(asked, way, ones, plain) for way, ones in found.items()]
    losses = {way: ones[0]["losses"] for way, ones in found.items()}
    off = max(abs(a - b) / a for a, b in zip(losses["recompute"], losses["kept"], strict=True))
    facts = {
        "tower": asked.model,
        "language model": asked.language,
        "device": asked.device if asked.device == "cpu" else torch.cuda.get_device_name(),
        "precision": str(dtype).removeprefix("torch."),
        "pictures": asked.steps * asked.rows,
        "pictures per step": asked.rows,
        "threads": asked.threads,
        "repetitions": asked.repeat,
        "bytes stored per picture": round(stored / (asked.steps * asked.rows)),
        "first pass and kept have the same losses": losses["first pass"] == losses["kept"],
        "largest relative difference of a loss to recomputing": off,
    }
    plainly = (asked.model, asked.language, asked.device) == ("tiny", "tiny", "cpu")
    report("features" if plainly else f"features-{asked.model}-{asked.language}-{asked.device}", rows, facts)


def _row(asked: Any, way: str, ones: list[dict[str, Any]], plain: float) -> dict[str, Any]:
    seconds = statistics.median(one["seconds"] for one in ones)
    return {
        "how": way,
        "steps/s": round(1 / seconds, 3),
        "pictures/s": round(asked.rows / seconds, 1),
        "CPU s/step": round(statistics.median(one["cpu"] for one in ones), 3),
        "data wait %": round(100 * statistics.median(one["waited"] for one in ones), 2),
        "seen by the tower": ones[0]["seen"],
        "against recomputing": f"{plain / seconds:.2f}×",
    }


def _run(asked: Any, folder: Path, way: str, turn: int) -> dict[str, Any]:
    """One training; medians over its steps."""
    from pipelines.train.loop.config_file import checked
    from pipelines.train.loop.trainer import train

    out = folder / f"run-{turn}-{way.replace(' ', '-')}"
    config = checked(_config(asked, folder, None if way == "recompute" else str(folder / "kept")), "bench")
    with _processor_time() as marks:
        train(config, out)
    steps = [json.loads(line) for line in (out / "logs" / "steps.jsonl").read_text().splitlines()]
    counted = steps[_WARM:]
    shutil.rmtree(out)
    return {
        "seconds": statistics.median(step["seconds"] for step in counted),
        "waited": statistics.median(step["data_wait_share"] for step in counted),
        "cpu": statistics.median(b - a for a, b in pairwise(marks[_WARM - 1 :])),
        "seen": sum(step["tower_squares"] for step in steps),
        "losses": [step["loss"] for step in steps],
    }


@contextmanager
def _processor_time() -> Iterator[list[float]]:
    """This process' processor time, all threads, at the end of each step."""
    from pipelines.train.loop.files import Files

    marks, add = list[float](), Files.add

    def added(self: Files, record: Any, rejected: Any, measured: Any) -> None:
        add(self, record, rejected, measured)
        marks.append(time.process_time())

    Files.add = added
    try:
        yield marks
    finally:
        Files.add = add


def _config(asked: Any, folder: Path, kept: str | None) -> dict[str, Any]:
    stage = {
        "name": "align",
        "data": {"sources": [{"path": str(folder / "data")}], "window": 2},
        "batches": {"text": "caption", "template": "plain", "arrange": "pad", "rows": asked.rows, "window": asked.rows},
        "features": None if kept is None else {"folder": kept},
    }
    model = {
        "tower": {"model": str(folder / "tower")},
        "language": {"model": str(folder / "language")},
        "precision": "bf16" if asked.device == "cuda" else "fp32",
    }
    every = {"every": 1_000_000}
    return {"model": model, "stages": [stage], "device": asked.device, "threads": asked.threads, "checkpoints": every}


def _arguments(args: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench features", description=__doc__)
    parser.add_argument("--model", choices=TOWERS, default="tiny")
    parser.add_argument("--language", choices=LANGUAGES, default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", type=int, default=16, help="pictures in a step")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="where weights, data and features lie while it runs; default: /tmp")
    return parser.parse_args(args)
