"""A folder of fetched shards that all processes of a node share: bounded, safe under kills, without a daemon.

A shard is kept under its own sha256, so that builds share it and a changed shard is another file. It is written as
`.tmp-<sha256>` and renamed when it is complete; whoever writes holds a `flock` on that file, so of all processes one
transfers and the others wait, and a killed process gives its lock up by dying. A temporary file whose lock is free was
left by a killed process: it is removed, or taken over by the next who wants this shard.

**Bound.** Before a transfer its whole size is reserved (the temporary file gets its length), under the folder's lock:
the lengths of all shards and reservations never exceed `max_bytes`. Room is made by removing the shards that were used
longest ago (atime, which `open` sets), first those that nobody has open. A removed shard that somebody has open stays
readable by its descriptor, and its blocks are freed when that is closed; so the disk holds at most `max_bytes` plus
what is still open of removed shards, which happens only where the shards open at once are larger than the bound.

There is no fsync: after a power loss a file may have its length and not its bytes, which the reader's check finds.
Files with other names are neither counted nor touched.
"""

import fcntl
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import WrongData, WrongRequest
from stages.store import FULL
from stages.stream.files import leads_to, mark_open, read_only, unlink_if_free

_LOCK = ".lock"
_SHARD, _PARTIAL = re.compile(r"[0-9a-f]{64}"), re.compile(r"\.tmp-[0-9a-f]{64}")
_LOCK_SECONDS = 60.0
"""Longest wait for the folder's lock, which is held for one listing and some removals."""
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    bytes: int
    atime_ns: int


class Slot:
    """A reserved place, open for reading and writing at `fd`, until it is committed or its `claim` ends."""

    def __init__(self, fd: int, partial: Path, final: Path, make_room: Callable[[int], bool]) -> None:
        self.fd = fd
        self.make_room = make_room
        """Removes shards that nobody has open until so many bytes are free; False: there is none to remove."""
        self.committed = False
        self._partial, self._final = partial, final

    def commit(self) -> int:
        """The file is complete: give it its name. Returns a read-only descriptor; the caller closes it."""
        _use_now(self.fd)
        with suppress(FileNotFoundError):  # the folder was emptied by hand: the open file is whole all the same
            self._partial.replace(self._final)
        self.committed = True
        fd = read_only(self.fd)
        fcntl.flock(self.fd, fcntl.LOCK_SH)
        mark_open(fd)
        return fd


class ShardCache:
    """Shards of at most `max_bytes` in `folder`. Picklable; every process and thread may use one of its own."""

    def __init__(self, folder: str, max_bytes: int) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.max_bytes = max_bytes
        self._held: set[int] = set()
        # A forked child has the parent's locks open, too; were the parent killed, they would outlive it.
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (known := forget()) and known())

    def __reduce__(self) -> tuple[type["ShardCache"], tuple[str, int]]:
        return (ShardCache, (str(self.folder), self.max_bytes))

    def open(self, sha256: str, size: int) -> int | None:
        """Read-only descriptor of a shard that is there, which is now the last used; one of another size is dropped.

        Raises WrongRequest where the folder cannot be used, WrongData where `sha256` is not one.
        """
        if not _SHARD.fullmatch(sha256):
            raise WrongData(f"a manifest names {sha256!r} as the sha256 of a shard", "make the dataset's manifest anew")
        try:
            fd = os.open(self.folder / sha256, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        mark_open(fd)
        if os.fstat(fd).st_size != size:
            self.drop(sha256, fd)
            return None
        with suppress(PermissionError):  # another user's file: it ages from when it was written
            _use_now(fd)
        return fd

    def drop(self, sha256: str, fd: int) -> None:
        """Remove a wrong shard, unless it has been replaced since `fd` was opened, and close `fd`."""
        with self._exclusive() as held:
            if held and leads_to(self.folder / sha256, fd):
                (self.folder / sha256).unlink()
        os.close(fd)

    @contextmanager
    def claim(self, sha256: str, size: int, patience: float) -> Iterator[Slot | None]:
        """The right to transfer a shard, after waiting for whoever has it.

        None: it has arrived meanwhile (`open` finds it); or what is being transferred leaves no room for it under the
        bound; or whoever transfers it is alive and has written nothing for `patience` seconds.
        Raises WrongRequest where the folder cannot be used.
        """
        fd = None if size > self.max_bytes else self._take(sha256, patience)
        if fd is None:
            yield None
            return
        partial = self._partial(sha256)
        slot = Slot(fd, partial, self.folder / sha256, self.make_room)
        try:
            yield slot if self._reserve(fd, size) else None
        finally:
            if not slot.committed:
                partial.unlink(missing_ok=True)
            self._release(fd)

    def make_room(self, wanted: int) -> bool:
        """Remove shards that nobody has open, oldest use first, until `wanted` bytes are free; True: at least one."""
        freed = 0
        with self._exclusive() as held:
            for entry in self._shards() if held else []:
                if freed >= wanted:
                    break
                freed += _remove_unused(entry)
        return freed > 0

    def no_space(self, shard: str) -> WrongData:
        """What to say when the disk is full and nothing can be removed."""
        return WrongData(f"no space left in cache {self.folder} for {shard}", "free space or lower remote.cache_bytes")

    # ------------------------------------------------------------------ claiming

    def _partial(self, sha256: str) -> Path:
        return self.folder / f".tmp-{sha256}"

    def _take(self, sha256: str, patience: float) -> int | None:
        """The shard's locked and empty temporary file; None: the shard is there, or its holder stands still."""
        partial, final = self._partial(sha256), self.folder / sha256
        seen, since = (0, 0), time.monotonic()
        while True:
            fd = self._create(partial)
            if self._try_lock(fd) and leads_to(partial, fd):
                if final.exists():
                    partial.unlink()
                    self._release(fd)
                    return None
                os.ftruncate(fd, 0)  # what a killed process has left
                return fd
            status = os.fstat(fd)
            self._release(fd)
            if final.exists():
                return None
            if seen != (status.st_ino, status.st_mtime_ns):
                seen, since = (status.st_ino, status.st_mtime_ns), time.monotonic()
            elif time.monotonic() - since > patience:
                return None
            time.sleep(_POLL_SECONDS)

    def _reserve(self, fd: int, size: int) -> bool:
        """Make `size` bytes of room under the bound and take them; False: transfers under way leave too little."""
        with self._exclusive() as held:
            if not held:
                return False
            # In this order: what is renamed meanwhile is counted once or twice, never not at all.
            in_transfer = sum(_left_over_or_bytes(p) for p in self.folder.iterdir() if _PARTIAL.fullmatch(p.name))
            shards = self._shards()
            if in_transfer + size > self.max_bytes:
                return False
            excess = in_transfer + sum(e.bytes for e in shards) + size - self.max_bytes
            for remove in (_remove_unused, _remove):
                for entry in shards:
                    if excess > 0 and entry.path.exists():
                        excess -= remove(entry)
            os.ftruncate(fd, size)
        return True

    def _shards(self) -> list[_Entry]:
        """Complete shards, least recently used first."""
        found = []
        for path in self.folder.iterdir():
            if _SHARD.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    found.append(_Entry(path, status.st_size, status.st_atime_ns))
        return sorted(found, key=lambda e: (e.atime_ns, e.path.name))

    # ------------------------------------------------------------------ locks

    @contextmanager
    def _exclusive(self) -> Iterator[bool]:
        """Hold the folder's lock; False: a process that stands still has it."""
        fd = self._create(self.folder / _LOCK)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not (held := self._try_lock(fd)) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            yield held
        finally:
            self._release(fd)

    def _create(self, path: Path) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in FULL and path.name != _LOCK and self.make_room(1):
                return self._create(path)
            raise self._unusable(error) from error
        self._held.add(fd)
        return fd

    def _try_lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def _release(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)  # by closing alone, a copy in a forked child would keep the lock
        self._held.discard(fd)
        os.close(fd)

    def _forget(self) -> None:
        for fd in self._held:
            os.close(fd)
        self._held.clear()

    def _unusable(self, error: OSError) -> WrongData | WrongRequest:
        if error.errno in FULL:
            return self.no_space("another shard")
        return WrongRequest(
            f"{self.folder} cannot be used as a cache of shards: {error.strerror}",
            "set remote.cache to a folder on a local disk that this user may write",
        )


def _use_now(fd: int) -> None:
    """The system's own atime is coarser, and older than a long transfer."""
    os.utime(fd, ns=(time.time_ns(), os.fstat(fd).st_mtime_ns))


def _remove(entry: _Entry) -> int:
    entry.path.unlink(missing_ok=True)
    return entry.bytes


def _remove_unused(entry: _Entry) -> int:
    return entry.bytes if unlink_if_free(entry.path) else 0


def _left_over_or_bytes(partial: Path) -> int:
    """Bytes reserved by a transfer; one whose process was killed is removed."""
    try:
        reserved = partial.stat().st_size
    except FileNotFoundError:
        return 0
    return 0 if unlink_if_free(partial) else reserved
