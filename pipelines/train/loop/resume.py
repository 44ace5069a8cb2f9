"""Whether a run may go on from a checkpoint, and what a run's folder holds."""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.train.loop.card import CONFIG
from schemas.config import plain
from schemas.errors import WrongRequest
from schemas.train_loop import TrainConfig

FORMAT = 1
_MAY = re.compile(r"stages\.[^.]+\.(optim|steps|accumulate|data)\b")
"""What --allow-changed allows; another model or other batches are another run."""


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """One training at a time in a folder, which is made. Raises WrongRequest where it is no run's, or taken."""
    if run.exists() and not run.is_dir():
        raise WrongRequest(f"{run} is no folder", "give another --out")
    lock = run / "logs" / "lock"
    if run.is_dir() and any(run.iterdir()) and not (run / CONFIG).exists() and not lock.exists():
        raise WrongRequest(f"{run} is not empty and holds no run", "give another --out")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WrongRequest(
                f"{run} is being trained by another process", "wait for it, or give another --out"
            ) from error
        yield


def settings(config: TrainConfig, number: int) -> dict[str, Any]:
    """All that decides what is learnt up to the stage of this number, by dotted name; of its data the batches' state
    knows more. A dataset may move: where it lies is left out."""
    whole = config.decisive()
    stages = {stage["name"]: stage for stage in whole.pop("stages")[: number + 1]}
    del stages[config.stages[number].name]["data"]
    for i, stage in enumerate(config.stages[:number]):
        sources = [{**plain(s), "path": s.label} for s in stage.data.sources]
        stages[config.stages[i].name]["data"]["sources"] = sources
    return dict(_flat({**whole, "stages": stages}, ""))


def compared(before: dict[str, Any], now: dict[str, Any], step: int, allow_changed: bool) -> list[str]:
    """Settings that changed, to be recorded. Raises WrongRequest where that is not allowed."""
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changes = [f"{name}: {json.dumps(before.get(name))} → {json.dumps(now.get(name))}" for name in names]
    never = [change for name, change in zip(names, changes, strict=True) if not _MAY.match(name)]
    if never or (changes and not allow_changed):
        raise WrongRequest(
            f"the run's checkpoint of step {step} is of another configuration: {'; '.join(never or changes)}",
            "go back to what it was, or start anew in another --out"
            + ("" if never else ", or allow it with --allow-changed: the change is recorded"),
        )
    return [f"after step {step}: {change}" for change in changes]


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
