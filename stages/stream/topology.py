"""Who reads what: the sequence is cut into batches, and the batches are dealt to ranks, then to a rank's workers.

Step t of a run gives rank r of R the batch t·R + r. So the ranks' batches, in order of rank, are the sequence itself,
for any number of ranks and workers; and where a run stands is one number, the position after the last whole step.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.errors import WrongRequest


@dataclass(frozen=True, slots=True)
class Topology:
    rank: int = 0
    world: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.world and 0 <= self.worker < self.workers):
            raise WrongRequest(
                f"rank {self.rank} of {self.world}, worker {self.worker} of {self.workers}", "count both from 0"
            )


@dataclass(frozen=True, slots=True)
class Span:
    """Positions start … stop − 1 of one batch; `after`: the position after the step to which it belongs."""

    start: int
    stop: int
    after: int


def spans(begin: int, total: int | None, batch: int, topology: Topology, drop_last: bool) -> Iterator[Span]:
    """The batches of one worker, from position `begin` on. The last step may leave ranks short or empty-handed,
    unless `drop_last`."""
    stride = batch * topology.world
    step = topology.worker
    while True:
        start = begin + step * stride + topology.rank * batch
        after = begin + (step + 1) * stride
        if total is not None:
            if start >= total or (drop_last and after > total):
                return
            after = min(after, total)
        yield Span(start, start + batch if total is None else min(start + batch, total), after)
        step += topology.workers


def stretches(several: list[Span]) -> list[tuple[int, int]]:
    """(start, stop) of what they cover, neighbours as one; they are in order."""
    starts, stops = [s.start for s in several], [s.stop for s in several]
    gaps = [i for i in range(1, len(several)) if starts[i] != stops[i - 1]]
    return [(starts[a], stops[b - 1]) for a, b in zip([0, *gaps], [*gaps, len(several)], strict=True)]


def topology_of_process() -> Topology:
    """Rank and world size as torch.distributed has them, else as torchrun's environment says, else one rank."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return Topology(torch.distributed.get_rank(), torch.distributed.get_world_size())
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return Topology(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    return Topology()
