"""The processes of a run, and what they tell one another: alone, by torchrun's environment, or as somebody set them up
(Ray Train does so before it calls `train`)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from schemas.errors import WrongRequest
from schemas.train_loop import TrainConfig


@dataclass(frozen=True)
class World:
    """This process among all of them."""

    rank: int
    size: int
    device: Any
    """torch.device"""
    joined: bool
    """Whether torch.distributed is on, be it for one process."""

    @property
    def first(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes, in float64; the same in each."""
        import torch

        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return sums.tolist()

    def gathered(self, mine: Any) -> list[Any]:
        """What each process has, in order of rank."""
        import torch

        if self.size == 1:
            return [mine]
        out: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(out, mine)
        return out

    def wait(self) -> None:
        """For all others to come here."""
        if self.size > 1:
            self.gathered(None)


@contextmanager
def joined(config: TrainConfig) -> Iterator[World]:
    """The world of this process. What is set up here is taken down again. Raises WrongRequest without the device."""
    import torch
    from torch import distributed

    cuda = torch.cuda.is_available() if config.device == "auto" else config.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise WrongRequest("device cuda: torch finds none", "set device: cpu, or look at nvidia-smi")
    mine = distributed.is_available() and not distributed.is_initialized() and "RANK" in os.environ
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    if mine:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        if distributed.is_available() and distributed.is_initialized():
            yield World(distributed.get_rank(), distributed.get_world_size(), device, True)
        else:
            yield World(0, 1, device, False)
    finally:
        if mine:
            distributed.destroy_process_group()
