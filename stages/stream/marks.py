"""What the processes of a loader know together of each shard: whether its sha256 was compared and is right."""

import fcntl
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

_POLL_SECONDS = 0.005


class Marks:
    """A yes or no per shard; processes forked from the one that made them see each other's."""

    def __init__(self, count: int) -> None:
        self._map = mmap.mmap(-1, max(1, count))
        self._locks: IO[bytes] = _unnamed_file()  # a record per shard, which a killed process gives up

    def __getitem__(self, at: int) -> "Mark":
        return Mark(self._map, self._locks, at)

    def __reduce__(self) -> tuple[Any, ...]:
        """All no again elsewhere."""
        return Marks, (len(self._map),)


@dataclass(frozen=True, slots=True)
class Mark:
    """One shard's."""

    _map: mmap.mmap
    _locks: IO[bytes]
    _at: int

    def __bool__(self) -> bool:
        return self._map[self._at] != 0

    def set(self) -> None:
        self._map[self._at] = 1

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Waits while another process is in here for the same shard; threads of one process do not."""
        while True:
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._at)
                break
            except BlockingIOError:
                time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, self._at)


def _unnamed_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("marks"), "wb")
    return tempfile.TemporaryFile()
