"""Measurements of a run: logs/steps.jsonl, and TensorBoard and Weights & Biases where they are asked for.

Times are here and nowhere else.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.train.loop.record import Appended
from schemas.errors import WrongRequest
from schemas.train_loop import LogConfig, StepRecord

STEPS = "logs/steps.jsonl"


class Logs:
    """Open sinks of one run."""

    def __init__(self, run: Path, config: LogConfig, size: int) -> None:
        """`size`: bytes of steps.jsonl that stay. Raises WrongRequest where a package is missing."""
        self.lines = Appended(run / STEPS, size)
        self._board = _board(run / "logs" / "tensorboard") if config.tensorboard else None
        self._wandb = _wandb(run, config.wandb) if config.wandb is not None else None

    def add(self, record: StepRecord, measured: dict[str, float | None]) -> None:
        """One step. `measured`: what depends on the clock."""
        tokens = record.tokens + record.padding
        line: dict[str, Any] = {
            "step": record.step, "stage": record.stage, "time": round(time.time(), 3), "loss": record.loss,
            "grad_norm": record.grad_norm, "lr": record.lr, **measured, "label_tokens": record.label_tokens,
            "padding_share": record.padding / max(1, tokens),
            "masked_share": 1 - record.label_tokens / max(1, record.tokens),
            "images": record.images, "truncated": record.truncated, "rejected": sum(record.rejected.values()),
        }  # fmt: skip
        self.lines.add(json.dumps(line).encode() + b"\n")
        numbers = {k: v for k, v in line.items() if isinstance(v, int | float) and k not in ("step", "time")}
        numbers |= {f"loss_by_kind/{k}": v for k, v in record.kinds.items()}
        numbers |= {f"loss_by_source/{k}": v for k, v in record.sources.items()}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, record.step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=record.step)

    def close(self) -> None:
        """Nothing more is added."""
        self.lines.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise WrongRequest(
            "logs.tensorboard needs the package tensorboard",
            "install the extra: uv sync --extra logs, or set it to false",
        ) from error
    return SummaryWriter(str(folder))


def _wandb(run: Path, project: str) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise WrongRequest(
            "logs.wandb needs the package wandb", "install the extra: uv sync --extra logs, or leave it out"
        ) from error
    (run / "logs").mkdir(parents=True, exist_ok=True)
    kept, name = run / "logs" / "wandb-id", None
    with suppress(FileNotFoundError):
        name = kept.read_text().strip()
    try:
        made = wandb.init(project=project, dir=str(run / "logs"), name=run.name, id=name, resume="allow")
    except wandb.Error as error:
        raise WrongRequest(f"logs.wandb: {error}", "log in (wandb login), or set WANDB_MODE=offline") from error
    kept.write_text(made.id)
    return made
