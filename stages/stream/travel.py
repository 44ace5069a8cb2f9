"""Batches from a worker process to the training process: members travel in one block, not as an object each."""

import mmap
import os
from dataclasses import replace
from itertools import islice
from multiprocessing.reduction import DupFd
from typing import Any

from stages.stream.batches import Batch

_SHARED_FROM = 128 << 10
"""Bytes from which a block of shared memory costs less than a pipe."""
_PIECES = 1024  # IOV_MAX on Linux


class Travelling:
    """Arrives as the batch that it was made of. For multiprocessing's own pickler only: a block is an open file."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        members = self._batch.members
        sizes = {name: [-1 if m is None else len(m) for m in found] for name, found in members.items()}
        pieces = [m for found in members.values() for m in found if m is not None]
        large = sum(map(len, pieces)) >= _SHARED_FROM and hasattr(os, "memfd_create")
        return _arrived, (replace(self._batch, members={}), sizes, _shared(pieces) if large else b"".join(pieces))


def _shared(pieces: list[Any]) -> Any:
    fd = os.memfd_create("batch")
    try:
        left = iter(pieces)
        while some := list(islice(left, _PIECES)):
            wanted, written = sum(map(len, some)), os.writev(fd, some)
            if written < wanted:  # more than 2 GiB at once
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(fd, rest) :]
        return DupFd(fd)
    finally:
        os.close(fd)


def _arrived(batch: Batch, sizes: dict[str, list[int]], block: Any) -> Batch:
    data, at = memoryview(block if isinstance(block, bytes) else _mapped(block.detach())), 0
    for name, each in sizes.items():
        found: list[Any] = []
        for size in each:
            found.append(data[at : at + size] if size >= 0 else None)
            at += max(0, size)
        batch.members[name] = found
    return batch


def _mapped(fd: int) -> mmap.mmap:
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
