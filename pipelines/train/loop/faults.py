"""What ends a run: numbers that are none, memory that is not there, a step without a label."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import WrongData, WrongRequest
from schemas.train_batch import Arrange
from schemas.train_loop import StepRecord, StepSample, TrainStage

FAILED = "logs/failed.json"
_NAMED = 8  # samples in a message
_NO_MEMORY = ("can't allocate memory", "out of memory")


@contextmanager
def memory_told(stage: TrainStage) -> Iterator[None]:
    """Out of memory, on the device or here, as WrongRequest that names what fills it."""
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in _NO_MEMORY):
            raise
        told = " ".join(str(error).split())[:200]
        config = stage.batches
        size = (
            f"rows × row_length = {config.rows} × {config.capacity} tokens"
            if config.arrange is Arrange.pack
            else f"rows × max_length = {config.rows} × {config.max_length}, tokens = {config.tokens}"
        )
        raise WrongRequest(
            f"out of memory in stage {stage.name}: a batch is {size}, pictures = {config.pictures} ({told})",
            "lower batches.rows (and raise accumulate by as much), max_length or batches.pictures, or set "
            "gradient_checkpointing: true",
        ) from error


def check_numbers(record: StepRecord, run: Path | None) -> None:
    """Raises WrongData where loss or gradient is no number; the whole step is written to logs/failed.json of the run,
    by the process that has it."""
    if math.isfinite(record.loss) and math.isfinite(record.grad_norm):
        return
    bad = [s for s in record.samples if not math.isfinite(s.loss)] or record.samples
    what, value = ("gradient", record.grad_norm) if math.isfinite(record.loss) else ("loss", record.loss)
    if run is not None:
        (run / FAILED).write_text(json.dumps(record.model_dump(mode="json")) + "\n", encoding="utf-8")
    raise WrongData(
        f"the {what} of step {record.step} (stage {record.stage}) is {value}; its samples: {named(bad)}",
        f"nothing was saved over the last checkpoint; look at the samples ({FAILED} of the run) or lower optim.lr",
    )


def nothing_learnt(samples: list[StepSample], step: int) -> WrongData:
    """Of a step without a label."""
    return WrongData(
        f"step {step} has no token to learn from; its samples: {named(samples) or 'none'}",
        "look at them, and at batches.max_length and the stage's data",
    )


def named(samples: list[StepSample]) -> str:
    """The first few, by id."""
    ids = list(dict.fromkeys(sample.sample_id for sample in samples))
    return ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")
