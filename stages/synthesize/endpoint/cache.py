"""Reply cache and account book: append-only logs in a local folder, one log a writer.

A record is one line, `blake2b-64 of the JSON, space, JSON, newline`, put there by one append. What survives:
- SIGKILL at any instant: every record whose append returned (it is in the kernel). A torn tail has no newline or a
  wrong hash, is never read, and lies in a log that nobody appends to again, since each writer makes its own.
- A power cut: every record that `durable` returned for (fsync, shared by all who wait).
A writer holds flock on its log while it lives; `locked()` is one flock for all writers of the folder, so any number of
tasks, clients and processes on one machine may share it. flock wants a local file system.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_HASH = 16
"""Hex digits before the JSON."""


@dataclass(slots=True)
class _Log:
    path: Path
    read: int = 0
    """Bytes taken in; always the start of a line."""
    alive: bool = True


class ReplyCache:
    """Replies by key, and the fold of all records.

    `fold(record)` is called once for every record of every writer, in each log's order. Raises OSError where the folder
    cannot be written; a record that could not be written whole is taken back."""

    def __init__(self, folder: Path, fold: Callable[[Record], None], fsync: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.writer = uuid.uuid4().hex[:16]
        self.damaged = 0
        """Whole lines with a wrong hash: bits rotted, or a disk was full. Skipped."""
        self._fold = fold
        self._fsync = fsync
        self._where: dict[bytes, tuple[int, int, int]] = {}
        self._logs: list[_Log] = []
        self._known: set[str] = set()
        self._listed = -1
        self._fd: int | None = None
        self._own = -1
        self._written = 0
        self._synced = 0
        self._syncing: asyncio.Task[None] | None = None
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._where

    def __len__(self) -> int:
        return len(self._where)

    def get(self, key: str) -> Record | None:
        """The reply's record, or None. Its hash is checked again as it is read."""
        where = self._where.get(bytes.fromhex(key))
        if where is None:
            return None
        log, offset, length = where
        with self._logs[log].path.open("rb") as file:
            file.seek(offset)
            record = _parse(file.read(length))
        if record is None:
            raise OSError(f"{self._logs[log].path.name} changed at byte {offset}; remove this log from {self.folder}")
        return record

    def append(self, record: Record) -> None:
        """One record, whole or not at all; in the kernel when this returns. No await: nothing can come between."""
        if self._fd is None:
            self._begin()
        assert self._fd is not None
        line = _line(record)
        try:
            done = os.write(self._fd, line)
            while done < len(line):
                done += os.write(self._fd, line[done:])
        except OSError:
            os.ftruncate(self._fd, self._written)
            raise
        self._take(self._own, self._written, line, record)
        self._written += len(line)

    async def durable(self) -> None:
        """Returns when everything appended so far is on the disk. One fsync serves all who wait."""
        want = self._written
        while self._fsync and self._synced < want:
            if self._syncing is None or self._syncing.done():
                self._syncing = asyncio.create_task(self._sync())
            await asyncio.shield(self._syncing)

    async def _sync(self) -> None:
        assert self._fd is not None
        upto = self._written
        await asyncio.to_thread(os.fsync, self._fd)
        self._synced = upto

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all writers of the folder. Held for microseconds; never across an await."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def living(self, writer: str) -> bool:
        """Whether this writer's process holds its log still."""
        path = self.folder / f"{writer}.log"
        if writer == self.writer:
            return True
        if not path.exists():
            return False
        with path.open("rb") as file:
            return not _free(file.fileno())

    def refresh(self) -> None:
        """Takes in what other writers appended since the last time."""
        changed = self.folder.stat().st_mtime_ns
        if changed != self._listed:
            self._listed = changed
            for path in sorted(self.folder.glob("*.log")):
                if path.name not in self._known:
                    self._known.add(path.name)
                    self._logs.append(_Log(path))
                    self._read(len(self._logs) - 1, probe=True)
        for index, log in enumerate(self._logs):
            if log.alive and index != self._own:
                self._read(index, probe=False)

    def close(self) -> None:
        """Flushes and lets go; the records stay."""
        if self._fd is not None:
            if self._fsync:
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin(self) -> None:
        """Own log. It gets its name when the flock is held, so that nobody takes it for a dead writer's."""
        draft = self.folder / f"{self.writer}.new"
        path = self.folder / f"{self.writer}.log"
        self._fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        draft.rename(path)
        if self._fsync:
            folder = os.open(self.folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        self._known.add(path.name)
        self._own = len(self._logs)
        self._logs.append(_Log(path))

    def _read(self, index: int, probe: bool) -> None:
        log = self._logs[index]
        if not probe and log.path.stat().st_size <= log.read:
            return
        with log.path.open("rb") as file:
            if probe:
                log.alive = not _free(file.fileno())  # asked first: a dead writer's last bytes are then all there
            file.seek(log.read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = _parse(line)
                if record is None:
                    self.damaged += 1
                else:
                    self._take(index, log.read, line, record)
                log.read += len(line)

    def _take(self, log: int, offset: int, line: bytes, record: Record) -> None:
        if record["t"] == "reply":
            self._where.setdefault(bytes.fromhex(record["k"]), (log, offset, len(line)))
        self._fold(record)


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return hashlib.blake2b(text, digest_size=_HASH // 2).hexdigest().encode() + b" " + text + b"\n"


def _parse(line: bytes) -> Record | None:
    text = line[_HASH + 1 : -1]
    if line[:_HASH] != hashlib.blake2b(text, digest_size=_HASH // 2).hexdigest().encode():
        return None
    return json.loads(text)


def _free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True
