"""All that a run writes step by step, in one process: its record, its logs, a word now and then."""

import time
from collections.abc import Callable
from pathlib import Path

from pipelines.train.loop.logs import STEPS, Logs
from pipelines.train.loop.record import Record
from schemas.train_batch import TrainRejection
from schemas.train_loop import StepRecord, TrainConfig

Say = Callable[[str], None]
_SAY_SECONDS = 10.0


class Files:
    """Open files of a run."""

    def __init__(self, run: Path, config: TrainConfig, sizes: dict[str, int], say: Say) -> None:
        """`sizes`: of the files as the checkpoint has them; what comes after is cut off."""
        self.run, self.peak_flops = run, config.logs.peak_flops
        self._record = Record(run, sizes)
        self._logs = Logs(run, config.logs, sizes.get(STEPS, 0))
        self._say, self._said = say, 0.0
        self.loss: float | None = None
        """Of the last step."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {**self._record.sizes, STEPS: self._logs.lines.size}

    @property
    def paths(self) -> list[Path]:
        """Of the files that `sizes` names."""
        return [self.run / name for name in self.sizes]

    def add(self, record: StepRecord, rejected: list[TrainRejection], measured: dict[str, float | None]) -> None:
        """A step."""
        self._record.add(record, rejected)
        self._logs.add(record, measured)
        self.loss = record.loss
        now = time.monotonic()
        if now - self._said > _SAY_SECONDS:
            self._said = now
            self._say(
                f"{record.stage} step {record.stage_step}: loss {record.loss:.4f}, rate {record.lr:.2e}, "
                f"{measured['tokens_per_s']:,.0f} tokens/s, data wait {100 * (measured['data_wait_share'] or 0):.1f} %"
            )

    def reject(self, step: int, rejected: list[TrainRejection]) -> None:
        """Conversations after the last step of a stage."""
        self._record.reject(step, rejected)

    def close(self) -> None:
        """Nothing more is added."""
        self._record.close()
        self._logs.close()
