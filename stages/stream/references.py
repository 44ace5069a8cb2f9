"""Where a batch's members lie, from a worker process to the training process, which maps the shards' files itself.

Bytes need not travel: each worker passes a shard's open file once, over a socket of its own, and after that numbers.
A passed file needs no name: one that is evicted from a cache meanwhile, or never had a name, is read all the same.
The training process holds a map until the worker says that it is done with the shard, or until the worker has ended;
what was sliced from it holds it longer. Workers that pass the same file share one map.
"""

import errno
import mmap
import multiprocessing
import os
import socket
import struct
import threading
import uuid
import weakref
from array import array
from dataclasses import dataclass
from itertools import chain
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from schemas.errors import WrongData
from stages.stream.batches import Batch, Located, slices
from stages.stream.shards import OpenShard

_PAGE = 4096
_SIZE = struct.Struct("<q")
"""A shard's bytes, told with its file."""


# ---------------------------------------------------------------------- the worker


class Sender:
    """A worker's end, for one pass over the stream. Not thread-safe."""

    def __init__(self) -> None:
        self._socket, there = socket.socketpair()
        self._socket.setblocking(False)
        self._there: socket.socket | None = there
        self._token = uuid.uuid4().bytes
        self._passed = 0
        self._done: list[int] = []

    def references(self, located: Located) -> "References | None":
        """What arrives as the batch; None where the system passes on no more files at present."""
        try:
            numbers = [self._number(shard) for shard in located.shards]
        except OSError:
            return None
        _bring_in(located)
        there, self._there = self._there, None
        done, self._done[:] = self._done[:], []
        batch = located.batch
        return References(
            _From(self._token, os.getpid(), there, done),
            (batch.start, batch.after, batch.sample_id, batch.source.tobytes()),
            located.names,
            [numbers[i] for i in located.of],
            array("q", chain.from_iterable(located.bounds)).tobytes(),
        )

    def close(self) -> None:
        """Files that were passed on still arrive."""
        self._socket.close()

    def _number(self, shard: OpenShard) -> int:
        """The shard's file is passed on, if it was not before; OSError where that cannot be."""
        file = shard.file
        assert file is not None
        if file.number is None:
            socket.send_fds(self._socket, [_SIZE.pack(file.size)], [file.fd])
            file.number = self._passed
            self._passed += 1
            weakref.finalize(file, self._done.append, file.number).atexit = False
            file.close()
        return file.number


def _bring_in(located: Located) -> None:
    """Touch the pages that are referred to: it is the worker that waits for a disk, not the training process.

    Small members lie beside the first one, and come with it.
    """
    data = [shard.data for shard in located.shards]
    for i, bounds in zip(located.of, located.bounds, strict=True):
        for at in range(0, len(bounds), 2):
            start, stop = bounds[at], bounds[at + 1]
            if stop - start >= _PAGE or (at == 0 and stop > start):
                bytes(data[i][start:stop:_PAGE])


@dataclass(frozen=True, slots=True)
class _From:
    token: bytes
    pid: int
    there: Any
    """With the first batch: the training process' end of the socket."""
    done: list[int]
    """Numbers of files that this batch and later ones do not refer to."""


@dataclass(frozen=True, slots=True)
class References:
    """Arrives as a Batch. For multiprocessing's own pickler, in the order in which they were made, each once."""

    sender: _From
    about: tuple[int, int, list[str], bytes]
    names: list[str]
    numbers: list[int]
    bounds: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        there = self.sender.there
        passed = None if there is None else DupFd(there.fileno())
        if there is not None:
            there.close()
        sender = (self.sender.token, self.sender.pid, passed, self.sender.done)
        return _arrived, (sender, self.about, self.names, self.numbers, self.bounds)


# ---------------------------------------------------------------------- the training process


class _Files:
    """Maps of the files that a worker has passed on, by number."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._received = channel, 0
        weakref.finalize(self, channel.close)
        self._maps: dict[int, memoryview] = {}

    def __getitem__(self, number: int) -> memoryview:
        while number >= self._received:
            self._maps[self._received] = memoryview(self._next())
            self._received += 1
        return self._maps[number]

    def forget(self, numbers: list[int]) -> None:
        for number in numbers:
            self[number]  # one that no batch has referred to is received, too: files come in turn
            del self._maps[number]

    def _next(self) -> mmap.mmap:
        told, fds, flags, _ = socket.recv_fds(self._channel, _SIZE.size, 1)
        if flags & socket.MSG_CTRUNC:
            raise OSError(errno.EMFILE, "a shard cannot be opened: raise `ulimit -n`, or lower the stream's window")
        if not fds:
            raise ConnectionResetError("a DataLoader worker has ended")
        try:
            return _mapped(fds[0], *_SIZE.unpack(told))
        finally:
            os.close(fds[0])


# What unpickles a batch is a function that is given the batch and nothing else, so this is the module's.
_lock = threading.Lock()
_held: "weakref.WeakKeyDictionary[BaseProcess, _Files]" = weakref.WeakKeyDictionary()
"""By worker, as long as its DataLoader knows it."""
_files: "weakref.WeakValueDictionary[bytes, _Files]" = weakref.WeakValueDictionary()
"""By the sender's token."""
_maps: "weakref.WeakValueDictionary[tuple[int, int, int], mmap.mmap]" = weakref.WeakValueDictionary()
"""By device, inode and size: a map holds its file open, so no other file has these."""


def _mapped(fd: int, size: int) -> mmap.mmap:
    status = os.fstat(fd)
    if status.st_size < size:
        raise WrongData(f"a shard of {size} bytes was cut to {status.st_size} while it was read", "bring it back")
    key = (status.st_dev, status.st_ino, size)
    found = _maps.get(key)
    if found is None:
        found = _maps[key] = mmap.mmap(fd, size, prot=mmap.PROT_READ)
    return found


def _files_of(token: bytes, pid: int, passed: Any) -> _Files:
    found = _files.get(token)
    if found is None:
        worker = next((child for child in multiprocessing.active_children() if child.pid == pid), None)
        if worker is None or passed is None:
            raise ConnectionResetError(f"DataLoader worker {pid} has ended")
        found = _Files(socket.socket(fileno=passed.detach()))
        _held[worker] = _files[token] = found  # in place of those of the worker's earlier passes
    return found


def _arrived(sender: tuple[Any, ...], about: tuple[Any, ...], names: list[str], numbers: list[int], at: bytes) -> Batch:
    token, pid, passed, done = sender
    with _lock:
        files = _files_of(token, pid, passed)
        files.forget(done)
        data = {number: files[number] for number in set(numbers)}
    start, after, ids, source = about
    flat, width = array("q", at).tolist(), 2 * len(names)
    columns = [flat[i::width] for i in range(width)]
    members = slices(names, [data[number] for number in numbers], columns)
    return Batch(start, after, ids, np.frombuffer(source, np.int64), members)
