"""An image's token becomes a run of them; a conversation that is too long is cut, never inside a run."""

from dataclasses import dataclass

import numpy as np

from pipelines.train.batches.encode import IGNORED, Encoded


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens start … start + length − 1 are one image's."""

    start: int
    length: int


def expanded(encoded: Encoded, image_id: int, lengths: list[int]) -> tuple[Encoded, list[Run]]:
    """With each image token repeated, `lengths` times in turn. As many lengths as image tokens, each 1 or more."""
    at = np.flatnonzero(encoded.ids == image_id)
    repeats = np.ones(len(encoded.ids), np.int64)
    repeats[at] = lengths
    starts = np.cumsum(repeats) - repeats
    runs = [Run(int(starts[i]), n) for i, n in zip(at, lengths, strict=True)]
    return Encoded(np.repeat(encoded.ids, repeats), np.repeat(encoded.labels, repeats)), runs


def truncated(encoded: Encoded, runs: list[Run], most: int) -> tuple[Encoded, list[Run]]:
    """At most `most` tokens: cut there, or before the image that lies there; then what follows the last label, from
    which nothing would be learnt. What is short enough stays as it is. The pictures of lost runs are lost with them."""
    if len(encoded.ids) <= most:
        return encoded, runs
    end = most
    for run in runs:
        if run.start < most < run.start + run.length:
            end = run.start
    labelled = np.flatnonzero(encoded.labels[:end] != IGNORED)
    end = int(labelled[-1]) + 1 if len(labelled) else 0
    return Encoded(encoded.ids[:end], encoded.labels[:end]), [run for run in runs if run.start < end]
