"""Descriptors of fetched shards: hash them while they grow, open them again, remove them when nobody has them."""

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

_AT_ONCE = 1 << 20


class FileHash:
    """sha256 of a file that grows from its beginning."""

    def __init__(self, fd: int) -> None:
        self._fd, self._at = fd, 0
        self._hash = hashlib.sha256()
        self._buffer = memoryview(bytearray(_AT_ONCE))

    def advance(self, to: int) -> None:
        """Take in the bytes up to `to`. Raises EOFError where the file is shorter."""
        while self._at < to:
            count = os.preadv(self._fd, [self._buffer[: to - self._at]], self._at)
            if count == 0:
                raise EOFError(f"the file ends at byte {self._at}, before {to}")
            self._hash.update(self._buffer[:count])
            self._at += count

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def read_only(fd: int) -> int:
    """Another descriptor of an open file, with or without a name, that cannot write where the system has /proc."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    return os.dup(fd)


def leads_to(path: Path, fd: int) -> bool:
    """Whether a name is that of an open file."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def mark_open(fd: int) -> None:
    """A shared lock that lasts as long as the descriptor, its copies and its maps: in use, to be removed last."""
    with contextlib.suppress(BlockingIOError):  # being removed at this moment: stays readable all the same
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def unlink_if_free(path: Path) -> bool:
    """Remove a file on which nobody holds a lock; False: somebody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if leads_to(path, fd):
            path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
