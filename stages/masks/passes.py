"""Prompts of many pictures in passes of the decoder: none larger than asked for, the ragged ones padded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stages.masks.encoder import Embedded
from stages.masks.sam import Sam

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Answer:
    """What the decoder says about some successive prompts of one picture."""

    picture: int
    first: int
    """Index of the first of these prompts among the picture's."""
    logits: "torch.Tensor"
    """(prompts, 3, rows, columns)."""
    predicted_iou: "torch.Tensor"
    """(prompts, 3), float32."""


def passes(counts: Sequence[int], per_pass: int) -> Iterator[list[tuple[int, int, int]]]:
    """Cut each picture's prompts: passes of (picture, first, after the last), as even as they can be.

    Every prompt is in one pass, and no pass has more than `per_pass` of them, padding included.
    """
    done = [0] * len(counts)
    while left := [i for i, count in enumerate(counts) if done[i] < count]:
        some = left[:per_pass]
        each = per_pass // len(some)
        cut = [(i, done[i], min(done[i] + each, counts[i])) for i in some]
        for i, _, end in cut:
            done[i] = end
        yield cut


def asked(
    sam: Sam, embedded: Embedded, kind: Literal["point", "box"], prompts: "Sequence[torch.Tensor]", per_pass: int
) -> Iterator[Answer]:
    """Answers to each picture's points (p, 2) or boxes (p, 4), as `Sam.ask` takes them.

    Raises ArithmeticError where a model predicts an IoU that is no number.
    """
    import torch

    for cut in passes([len(p) for p in prompts], per_pass):
        longest = max(end - first for _, first, end in cut)
        padded = torch.zeros((len(cut), longest, prompts[0].shape[1]), dtype=prompts[0].dtype)
        for row, (picture, first, end) in enumerate(cut):
            padded[row, : end - first] = prompts[picture][first:end]
        logits, iou = sam.ask(embedded.take([picture for picture, _, _ in cut]), kind, padded)
        if not torch.isfinite(iou).all():
            raise ArithmeticError(
                f"{type(sam.model).__name__} predicts an IoU that is no number: its weights are damaged"
            )
        for row, (picture, first, end) in enumerate(cut):
            yield Answer(picture, first, logits[row, : end - first], iou[row, : end - first])
