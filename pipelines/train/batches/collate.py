"""Rows of examples → tensors, with the account of what is in them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.train.batches.encode import IGNORED
from pipelines.train.batches.example import Example
from schemas.errors import WrongRequest
from schemas.train_batch import BatchStats

if TYPE_CHECKING:
    import torch


_NO_CACHE = {"use_cache": False}


class Form(StrEnum):
    """How attention is kept inside an example."""

    padded = "padded"
    """A 2D mask of what is no padding; rows of one example only."""
    positions = "positions"
    """No mask: transformers finds the examples of a row where positions start anew, for eager, sdpa and flex attention,
    and only where `use_cache` is off; else a token sees all of its row. Flash attention does so for a batch of one row
    alone: give it `varlen`."""
    block = "block"
    """A 4D mask that is added to the scores: eager and sdpa. rows × length² numbers."""
    varlen = "varlen"
    """All rows in one, without padding, and cumulative lengths: flash attention."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Where an example lies in a batch, and what it is."""

    sample_id: str
    number: int
    """Of the conversation in its sample."""
    position: int
    """Of the sample in the stream's sequence."""
    source: str
    kind: str
    row: int
    start: int
    stop: int
    label_tokens: int
    images: int
    cut: int
    """Tokens that did not fit."""


@dataclass(slots=True)
class Batch:
    """What one rank trains on at once. Tensors are int64 (rows, length) where nothing else is said."""

    input_ids: "torch.Tensor"
    labels: "torch.Tensor"
    """Not shifted; IGNORED (−100) where nothing is learnt."""
    position_ids: "torch.Tensor"
    """From 0 in every example, and in the padding."""
    segment_ids: "torch.Tensor"
    """1, 2 … by example, 0 in the padding."""
    pixels: "dict[str, torch.Tensor]"
    """`pixel_values` and what goes with it, in the order of the rows' images; empty where the batch has none."""
    segments: list[Segment]
    stats: BatchStats
    filler: bool = False
    """The stream ended before this rank's turn: the step's first batch once more, nothing of it learnt."""
    rejected: list[Any] = field(default_factory=list)
    """TrainRejections since the batch before; each in one rank's batch alone."""
    after: dict[str, Any] = field(default_factory=dict)
    """Where the whole run stands after this batch's step; `Batches.state_dict` makes a checkpoint's state of it."""

    @property
    def sample_ids(self) -> list[str]:
        """Of its examples, row by row."""
        return [segment.sample_id for segment in self.segments]

    def inputs(self, form: Form, dtype: Any = None) -> dict[str, Any]:
        """Arguments for a model of transformers, labels among them: call it with `num_items_in_batch`, the label tokens
        of the whole step, or take the logits to `label_loss`.

        `dtype`: of the block mask, float32 by default. Raises WrongRequest for form padded with several examples in a
        row.
        """
        if form is Form.varlen:
            return self._flat() | _NO_CACHE | self.pixels
        out: dict[str, Any] = {"input_ids": self.input_ids, "labels": self.labels, "position_ids": self.position_ids}
        if form is Form.padded:
            if int(self.segment_ids.max()) > 1:
                raise WrongRequest("form padded has one example to a row, and these are packed", "take form positions")
            out["attention_mask"] = (self.segment_ids > 0).long()
        elif form is Form.block:
            out["attention_mask"] = block_mask(self.segment_ids, dtype)
        return out | _NO_CACHE | self.pixels

    def _flat(self) -> dict[str, Any]:
        import torch

        real = self.segment_ids > 0
        lengths = [segment.stop - segment.start for segment in self.segments]
        if not lengths:  # every picture was bad: one token of padding
            real[0, 0], lengths = True, [1]
        ends = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
        return {
            "input_ids": self.input_ids[real][None],
            "labels": self.labels[real][None],
            "position_ids": self.position_ids[real][None],
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }


def block_mask(segment_ids: "torch.Tensor", dtype: Any = None) -> "torch.Tensor":
    """(rows, 1, length, length): 0 where a token may look, the lowest number elsewhere.

    Each token sees those before it in its own example, and itself; padding sees padding.
    """
    import torch

    dtype = dtype or torch.float32
    length = segment_ids.shape[1]
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment_ids.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=segment_ids.device)
    return mask.masked_fill_(~(same & causal), torch.finfo(dtype).min)[:, None]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a batch's tensors."""

    pad_id: int
    length: int | None = None
    """Pad rows to this; None: to the longest."""


def collated(rows: list[list[Example]], shape: Shape, rejected: dict[str, int]) -> Batch:
    """The tensors, without pixels. A row without examples is padding alone."""
    import torch

    length = shape.length or max(1, *(sum(map(len, row)) for row in rows)) if rows else 1
    size = (max(1, len(rows)), length)
    ids, labels = np.full(size, shape.pad_id, np.int64), np.full(size, IGNORED, np.int64)
    positions, numbers = np.zeros(size, np.int64), np.zeros(size, np.int64)
    segments: list[Segment] = []
    for r, row in enumerate(rows):
        at = 0
        for n, example in enumerate(row, start=1):
            here = (r, slice(at, at + len(example)))
            ids[here], labels[here] = example.ids, example.labels
            positions[here], numbers[here] = np.arange(len(example)), n
            segments.append(_segment(example, r, at))
            at += len(example)
        positions[r, at:] = np.arange(length - at)
    stats = _stats([e for row in rows for e in row], size, rejected)
    ids, labels, positions, numbers = (torch.from_numpy(a) for a in (ids, labels, positions, numbers))
    return Batch(ids, labels, positions, numbers, {}, segments, stats)


def _segment(example: Example, row: int, start: int) -> Segment:
    talk = example.talk
    return Segment(
        sample_id=talk.sample.sample_id,
        number=talk.number,
        position=talk.sample.position,
        source=talk.sample.source_name,
        kind=talk.kind,
        row=row,
        start=start,
        stop=start + len(example),
        label_tokens=example.label_tokens,
        images=len(example.runs),
        cut=example.cut,
    )


def _stats(examples: list[Example], size: tuple[int, int], rejected: dict[str, int]) -> BatchStats:
    tokens = sum(map(len, examples))
    return BatchStats(
        rows=size[0],
        examples=len(examples),
        tokens=tokens,
        label_tokens=sum(e.label_tokens for e in examples),
        image_tokens=sum(run.length for e in examples for run in e.runs),
        images=sum(len(e.runs) for e in examples),
        padding=size[0] * size[1] - tokens,
        truncated=sum(e.cut > 0 for e in examples),
        cut_tokens=sum(e.cut for e in examples),
        rejected=rejected,
    )
