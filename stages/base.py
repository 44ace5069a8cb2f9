"""A stage: a picklable object that annotates a batch and says which rows to reject.

Its config travels, its model does not: `open` loads it once per worker. One sample in is one sample out, so
`Outcome(table, reason)` conserves rows by construction; the engine does the splitting, the casting and the writing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from schemas.config import StageConfig
from schemas.row import Row


class NoReasons(StrEnum):
    """For a stage that never rejects."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one worker of a stage needs. `memory` in bytes, 0 for unknown."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0


class Payload(Protocol):
    """Image bytes of a batch, kept out of Arrow."""

    def ext(self, row: int) -> str | None:
        """File extension of the row's image without a dot; None where there is no image."""
        ...

    def read(self, row: int) -> bytes:
        """The row's image."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage returns for a batch: the annotated table and one reason per row (null = kept).

    `table` has as many rows as the batch, in the same order. For a rejected row the emitted columns may be null.
    `value`, `threshold` and `detail` are optional evidence, one entry per row.
    """

    table: pa.Table
    reason: "pa.Array[Any]"
    value: "pa.Array[Any] | None" = None
    threshold: "pa.Array[Any] | None" = None
    detail: "pa.Array[Any] | None" = None
    payload: Payload | None = None
    """Image bytes by row, for a stage that fetches them; the engine writes them into the part's tar."""

    def __post_init__(self) -> None:
        for name in ("reason", "value", "threshold", "detail"):
            column = getattr(self, name)
            if column is not None and len(column) != self.table.num_rows:
                raise ValueError(f"Outcome.{name} has {len(column)} entries for {self.table.num_rows} rows")

    @property
    def kept(self) -> pa.Table:
        """The rows without a reason."""
        return self.table.filter(self._rejected_mask(False))

    @property
    def rejected(self) -> pa.Table:
        """The rows with one."""
        return self.table.filter(self._rejected_mask(True))

    def _rejected_mask(self, rejected: bool) -> pa.BooleanArray:
        mask: pa.BooleanArray = pc.is_valid(self.reason) if rejected else pc.is_null(self.reason)  # pyright: ignore[reportUnknownMemberType]
        return mask

    @staticmethod
    def all_kept(table: pa.Table) -> "Outcome":
        """Every row kept."""
        return Outcome(table, pa.nulls(table.num_rows, pa.string()))


class Stage:
    """Base of every per-part stage. Subclasses set the class attributes and implement `process`.

    Instances are picklable before `open` and after `close`. `process` is a pure function of the batch and the config.
    """

    name: ClassVar[str]
    """As in the recipe and the ledger: `download`, `measure/clip` …"""
    version: ClassVar[int] = 1
    """Raise it when the same config over the same input gives other bytes."""
    accepts: ClassVar[type[Row]]
    """Columns that `process` needs (a batch may carry more)."""
    emits: ClassVar[type[Row]]
    """Columns that `process` adds, `sample_id` first."""
    reasons: ClassVar[type[StrEnum]] = NoReasons
    """Closed list of ways a sample can be rejected here."""
    resources: Resources = Resources()

    def __init__(self, config: StageConfig) -> None:
        self.config = config

    def open(self) -> None:
        """Once per worker: load the model. Idempotent."""

    def process(self, batch: pa.Table) -> Outcome:
        """Annotate one batch. Raises only for a bug: an expected failure of a sample is a reason."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what `open` took. Idempotent."""

    def identity(self) -> dict[str, Any]:
        """All of the stage itself that decides bytes: name, version, config; subclasses add weights and libraries."""
        return {"stage": self.name, "version": self.version, "config": self.config.decisive()}
