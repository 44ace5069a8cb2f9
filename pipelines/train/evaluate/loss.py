"""Held-out loss: what a model thinks of the written answers, token by token, given what comes before them.

The batches are those of training (template, truncation, verified labels), one conversation to a row, nothing learnt.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.train.batches.batches import Batches
from pipelines.train.batches.collate import Form
from pipelines.train.evaluate.generate import placed
from pipelines.train.loop.pixels import pixels_of
from pipelines.train.loop.record import RECORD
from pipelines.train.loop.step import samples_of, token_losses
from pipelines.train.models import Built
from schemas.errors import WrongData
from schemas.evaluate import LossRow
from schemas.stream import SourceConfig, StreamConfig
from schemas.train_batch import Arrange, BatchConfig
from schemas.train_loop import StepSample
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream

Look = Callable[[Iterator[list[StepSample]]], Iterable[list[StepSample]]]
By = Literal["all", "kind", "source"]
_WINDOW = 32


@dataclass(frozen=True)
class HeldOutLoss:
    """Of conversations that are not learnt from."""

    rows: list[LossRow]
    """For all, then each kind; each source where there are several."""
    rejected: dict[str, int]
    """Reason (TrainReason) → conversations that have no loss."""
    sample_ids: frozenset[str]
    """Of those that have one."""


def held_out_loss(
    built: Built, sources: list[SourceConfig], batches: BatchConfig, rows: int = 8, look: Look = iter
) -> HeldOutLoss:
    """`batches`: as in training; `rows` of a batch at most; `look` sees the conversations of batch after batch pass.
    Raises WrongData where nothing is left."""
    found, rejected = list[StepSample](), Counter[str]()
    for source in sources:
        made = _Batches(built, source, batches, rows)
        for samples in look(made.losses()):
            found += samples
        rejected += Counter(made.rejected)
    if not found:
        told = ", ".join(f"{name} {count:,}" for name, count in sorted(rejected.items())) or "no sample"
        names = ", ".join(f"{one.path}" + (f" (split {one.split})" if one.split else "") for one in sources)
        raise WrongData(f"{names}: no conversation to compute a loss of: {told}", "name another split or build")
    return HeldOutLoss(loss_rows(found), dict(sorted(rejected.items())), frozenset(one.sample_id for one in found))


def loss_rows(samples: list[StepSample]) -> list[LossRow]:
    """A row for all, each kind, and each source where there are several: means over label tokens."""
    groups: dict[tuple[By, str], list[StepSample]] = {("all", "all"): samples}
    for sample in sorted(samples, key=lambda one: one.kind):
        groups.setdefault(("kind", sample.kind), []).append(sample)
    if len({sample.source for sample in samples}) > 1:
        for sample in samples:
            groups.setdefault(("source", sample.source), []).append(sample)
    return [_row(by, name, members) for (by, name), members in groups.items()]


def trained_on(run: Path, stage: str, sample_ids: frozenset[str]) -> int:
    """How many of these samples a run has learnt from, up to the end of a stage: each step's record names its own."""
    seen: set[str] = set()
    with (run / RECORD).open("rb") as lines:
        reached = False
        for line in lines:
            record = json.loads(line)
            if reached and record["stage"] != stage:
                break
            reached |= record["stage"] == stage
            seen |= sample_ids & {sample["sample_id"] for sample in record["samples"]}
    return len(seen)


def _row(by: By, name: str, samples: list[StepSample]) -> LossRow:
    tokens = sum(sample.label_tokens for sample in samples)
    loss = sum(sample.loss for sample in samples) / tokens
    return LossRow(by=by, name=name, conversations=len(samples), label_tokens=tokens, loss=loss)


class _Batches:
    """One source, once, in stored order."""

    def __init__(self, built: Built, source: SourceConfig, config: BatchConfig, rows: int) -> None:
        self._built = built
        asked = {"arrange": Arrange.group, "row_length": None, "tokens": None, "full_rows": False}
        asked |= {"rows": rows, "window": rows * _WINDOW, "max_bad_share": 1.0, "max_bad": None}
        stream = Stream(StreamConfig(sources=[source.model_copy(update={"repeats": 1.0})], shuffle=False))
        config = config.model_copy(update=asked)
        self._batches = Batches(stream, built.tokenizer, pixels_of(built), config, Topology())

    @property
    def rejected(self) -> dict[str, int]:
        """Once all is read."""
        return dict(self._batches.ledger.rejected)

    def losses(self) -> Iterator[list[StepSample]]:
        """Batch by batch."""
        import torch

        built = self._built
        flash = built.core.config.text_config._attn_implementation == "flash_attention_2"
        form = Form.varlen if flash else Form.positions
        like, training = next(built.core.parameters()), built.model.training
        built.model.eval()
        try:
            with torch.inference_mode():
                for batch in self._batches:
                    inputs = {name: placed(value, like) for name, value in batch.inputs(form).items()}
                    labels = inputs.pop("labels")
                    yield samples_of(batch, token_losses(built.model(**inputs).logits, labels), form)
        finally:
            built.model.train(training)
