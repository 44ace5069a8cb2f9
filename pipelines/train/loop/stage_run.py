"""One stage of a run, step after step, from where it stands to its end."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pipelines.train.batches.batches import Batches
from pipelines.train.batches.collate import Batch
from pipelines.train.loop.faults import check_numbers, memory_told, nothing_learnt
from pipelines.train.loop.files import Files
from pipelines.train.loop.flops import peak_of, squares_of
from pipelines.train.loop.optim import set_rate
from pipelines.train.loop.ready import Ready
from pipelines.train.loop.step import clipped, label_tokens, learn, samples_of
from schemas.errors import WrongData
from schemas.train_batch import TrainRejection
from schemas.train_loop import StepRecord, StepSample, TrainStage

_SUMMED = ("tokens", "padding", "images", "truncated", "cut_tokens")


@dataclass
class Told:
    """What one process knows of a step."""

    samples: list[StepSample] = field(default_factory=list)
    rejected: list[TrainRejection] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    work: float = 0.0
    looks: int = 0
    stop: bool = False


@dataclass
class Place:
    """Where a run stands."""

    stage: int
    """Number of the stage."""
    step: int = 0
    """Steps done, over all stages."""
    stage_step: int = 0
    """Steps done in the stage."""
    steps: int = 0
    """Of the stage."""


class StageRun:
    """Iterates over the steps that it does: True where the run was told to stop."""

    def __init__(self, stage: TrainStage, ready: Ready, batches: Batches, place: Place, files: Files | None) -> None:
        """`files`: None for processes that write nothing."""
        self.stage, self.ready, self.batches, self.place, self.files = stage, ready, batches, place, files
        self._peak = peak_of(ready.world.device, None if files is None else files.peak_flops)

    def steps(self, asked: Callable[[], bool]) -> Generator[bool]:
        """`asked`: whether this process was told to stop. Raises WrongData and WrongRequest."""
        place = self.place
        with closing(iter(self.batches)) as coming:  # pyright: ignore[reportArgumentType]  it is a generator
            while place.stage_step < place.steps:
                began = time.perf_counter()
                batches = list(islice(coming, self.stage.accumulate))
                waited = time.perf_counter() - began
                if not batches:
                    raise WrongData(
                        f"stage {self.stage.name}: the stream ended after step {place.stage_step} of {place.steps}",
                        "set its steps to that, or repeats: null for its sources",
                    )
                with memory_told(self.stage):
                    record, told = self._step(batches, asked)
                place.step, place.stage_step = record.step, record.stage_step
                if self.files is not None:
                    seconds = time.perf_counter() - began
                    self.files.add(record, told.rejected, self._measured(record, told, seconds, waited))
                yield told.stop or (self.ready.world.size == 1 and asked())
            if self.stage.steps is None:
                next(coming, None)  # the account of the whole stream is judged

    def _step(self, batches: list[Batch], asked: Callable[[], bool]) -> tuple[StepRecord, Told]:
        ready, place = self.ready, self.place
        (total,) = ready.world.total([label_tokens(batches)])
        if total <= 0:
            raise nothing_learnt(_bare(batches), place.step + 1)
        rate = set_rate(ready.optimizer, place.stage_step, place.steps, self.stage.optim)
        losses = learn(ready, batches, total)
        norm = clipped(ready, self.stage.optim.clip)
        told = self._together(batches, losses, asked())
        record = self._record(told, int(total), norm, rate)
        check_numbers(record, None if self.files is None else self.files.run)
        ready.optimizer.step()
        ready.optimizer.zero_grad(set_to_none=True)
        return record, told

    def _together(self, batches: list[Batch], losses: list[Any], stop: bool) -> Told:
        """What all processes know, in order of rank."""
        mine = Told(stop=stop)
        for batch, found in zip(batches, losses, strict=True):
            mine.samples += samples_of(batch, found, self.ready.form)
            mine.rejected += batch.rejected
            mine.sums.update({name: getattr(batch.stats, name) for name in _SUMMED})
            mine.work += self.ready.work.of(batch)
            mine.looks += squares_of(batch)[1]
        out = Told()
        for theirs in self.ready.world.gathered(mine):
            out.samples += theirs.samples
            out.rejected += theirs.rejected
            out.sums.update(theirs.sums)
            out.work += theirs.work
            out.looks += theirs.looks
            out.stop |= theirs.stop
        return out

    def _record(self, told: Told, total: int, norm: float, rate: float) -> StepRecord:
        return StepRecord(
            step=self.place.step + 1,
            stage=self.stage.name,
            stage_step=self.place.stage_step + 1,
            loss=sum(sample.loss for sample in told.samples) / total,
            grad_norm=norm,
            lr=rate,
            label_tokens=total,
            **{name: told.sums[name] for name in _SUMMED},
            rejected=dict(sorted(Counter(r.reason for r in told.rejected).items())),
            kinds=_means(told.samples, "kind"),
            sources=_means(told.samples, "source"),
            samples=told.samples,
        )

    def _measured(self, record: StepRecord, told: Told, seconds: float, waited: float) -> dict[str, float | None]:
        import torch

        device, half = self.ready.world.device, self.ready.half
        peak = None if self._peak is None or not half else self._peak * self.ready.world.size
        memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        return {
            "seconds": seconds,
            "tokens_per_s": record.tokens / seconds,
            "images_per_s": record.images / seconds,
            "mfu": None if peak is None else told.work / seconds / peak,
            "flops": told.work,
            "tower_squares": told.looks,
            "data_wait_share": waited / seconds,
            "peak_bytes": memory,
        }


def _means(samples: list[StepSample], name: str) -> dict[str, float]:
    sums, tokens = defaultdict[str, float](float), Counter[str]()
    for sample in samples:
        sums[getattr(sample, name)] += sample.loss
        tokens[getattr(sample, name)] += sample.label_tokens
    return {key: sums[key] / tokens[key] for key in sorted(sums) if tokens[key]}


def _bare(batches: list[Batch]) -> list[StepSample]:
    """The samples of batches without their losses."""
    return [
        StepSample(
            sample_id=s.sample_id,
            number=s.number,
            kind=s.kind,
            source=s.source,
            label_tokens=0,
            images=s.images,
            loss=0,
        )
        for batch in batches
        for s in batch.segments
    ]
