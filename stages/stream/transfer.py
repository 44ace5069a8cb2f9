"""One object, from a store into an open file: ranges, several at once, each resumed where it broke off.

The network is read in fsspec's event loop, the file is written by threads of that loop (a slow disk must not stop the
network), and the thread that waits for the transfer hashes the bytes as the file grows from its beginning.

A try is one connection for one range. It fails when the connection breaks, or when no connection of the transfer has
brought a byte for `stall_seconds`; the next one goes on at the first missing byte. After `tries` fruitless ones in a
row for the same range the transfer fails. A connection that brings a byte now and then is never given up.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.stream import RemoteConfig
from stages.store import FULL
from stages.stream.files import FileHash
from stages.stream.objects import Connection, SizeDiffers, StoredObject

RANGE_BYTES = 32 << 20
"""256 MiB from a loopback server that gives each connection 60 MB/s after 30 ms, four ranges at once: 3.3 times the
speed of one connection, with ranges of 16 MiB 3.5 times. The longer ones cost half the requests."""
_WRITE_BYTES = 1 << 20
"""Collected before a write; and what a try must bring to count as not fruitless."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0
"""Seconds between tries: doubled each time."""
_GLANCE_SECONDS = 0.5
"""Between looks whether the process is ending."""


class Broken(Exception):
    """A range could not be read: `reason` of the last of `tries` fruitless tries."""

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason, tries)
        self.reason, self.tries = reason, tries


class DiskFull(Exception):
    """The file cannot grow, and no room could be made."""


class Sink:
    """The file of a transfer; written at any place from any thread until `close`, and never after it."""

    def __init__(self, fd: int, make_room: Callable[[int], bool] | None = None) -> None:
        self._fd, self._make_room = fd, make_room
        self._lock = threading.Lock()
        self._open = True

    def write(self, pieces: list[bytes], offset: int) -> None:
        """Raises DiskFull where `make_room` finds nothing more to remove."""
        data = memoryview(b"".join(pieces))
        with self._lock:
            if not self._open:
                raise _GivenUp
            while data:
                try:
                    written = os.pwrite(self._fd, data, offset)
                except OSError as error:
                    if error.errno not in FULL:
                        raise _Disk(error) from error
                    if self._make_room is None or not self._make_room(len(data)):
                        raise DiskFull(error.strerror) from error
                    continue
                data, offset = data[written:], offset + written

    def close(self) -> None:
        """Waits for a write under way; the descriptor may be closed afterwards."""
        with self._lock:
            self._open = False


class _GivenUp(Exception):
    """A late write of a transfer that is over."""


class _Disk(Exception):
    """Carries an OSError of the disk past those that catch the network's."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(slots=True)
class _Range:
    position: int
    """First byte that is not in the file yet."""
    stop: int


class Transfer:
    """An object of `size` bytes on its way into a file."""

    def __init__(self, stored: StoredObject, size: int, sink: Sink, config: RemoteConfig) -> None:
        self._stored, self._size, self._sink, self._config = stored, size, sink, config
        self._ranges = [_Range(at, min(at + RANGE_BYTES, size)) for at in range(0, size, RANGE_BYTES)]
        self._waiting = deque(self._ranges)
        self._at_once = min(stored.at_once, len(self._ranges))
        self._last = 0.0
        """When the last byte came, by the loop's clock."""
        self._writing = 0
        self._clocks: set[asyncio.Timeout] = set()
        self._grown = threading.Event()

    def receive(self, fd: int, loop: Any, check: bool) -> str | None:
        """Runs in `loop` until the file is complete; the sha256 (hex) of its bytes if `check`. `fd`: the sink's file.

        Raises FileNotFoundError, PermissionError, SizeDiffers, Broken, DiskFull, or the disk's OSError; RuntimeError
        when the process is ending (it waits for the threads of its pools, and this may be one).
        """
        future = asyncio.run_coroutine_threadsafe(self._run(), loop)
        future.add_done_callback(lambda _: self._grown.set())
        digest = FileHash(fd) if check else None
        try:
            while not future.done():
                self._grown.wait()
                self._grown.clear()
                if digest is not None:
                    digest.advance(self._complete_to())
            future.result()
        except _Disk as error:
            raise error.cause from None
        finally:
            future.cancel()
            self._sink.close()
        if digest is None:
            return None
        digest.advance(self._size)
        return digest.hexdigest()

    def _complete_to(self) -> int:
        """Bytes at the beginning of the file that are all there."""
        return next((r.position for r in self._ranges if r.position < r.stop), self._size)

    async def _run(self) -> None:
        self._last = asyncio.get_running_loop().time()
        known = asyncio.Event()
        watch = asyncio.create_task(self._watch())
        workers = [asyncio.create_task(self._work(known, first=n == 0)) for n in range(self._at_once)]
        brought = asyncio.gather(*workers)
        try:
            await asyncio.wait((brought, watch), return_when=asyncio.FIRST_COMPLETED)
            await (watch if watch.done() else brought)
        finally:
            for task in (watch, *workers):
                task.cancel()
            await asyncio.gather(watch, brought, *workers, return_exceptions=True)

    async def _work(self, known: asyncio.Event, first: bool) -> None:
        """Take range after range; all but the first worker wait until it is known that the server has ranges."""
        if not first:
            await known.wait()
        while self._waiting:
            await self._bring(self._waiting.popleft(), known)

    async def _bring(self, part: _Range, known: asyncio.Event) -> None:
        tries, wait = 0, _FIRST_WAIT
        while part.position < part.stop:
            before = part.position
            clock = asyncio.timeout(None)
            try:
                async with clock:
                    self._clocks.add(clock)
                    await self._try(part, known)
            except (FileNotFoundError, PermissionError):
                raise
            except self._stored.errors as error:
                if part.position - before >= _WRITE_BYTES:
                    tries, wait = 0, _FIRST_WAIT
                tries += 1
                if tries >= self._config.tries:
                    stalled = f"no byte for {self._config.stall_seconds:g} s"
                    raise Broken(stalled if clock.expired() else one_line(error), tries) from error
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            finally:
                self._clocks.discard(clock)

    async def _try(self, part: _Range, known: asyncio.Event) -> None:
        """One connection, from the range's first missing byte on."""
        self._last = asyncio.get_running_loop().time()
        connection = await self._stored.open(part.position, part.stop)
        try:
            if connection.total not in (None, self._size):
                raise SizeDiffers(connection.total)
            if not known.is_set() and not connection.ranged:  # it sends everything: so this one takes everything
                self._waiting.clear()
                self._ranges[1:] = []
                part.stop = self._size
            known.set()
            came_to = await self._pour(connection, part)
            to_the_end = not connection.ranged and part.stop == self._size
            if to_the_end and (came_to > self._size or await connection.read()):
                raise SizeDiffers(None)
        finally:
            connection.close()

    async def _pour(self, connection: Connection, part: _Range) -> int:
        """What the connection brings into the file, until the range is complete; where in the object it is then."""
        at, held, size = connection.position, [], 0
        try:
            while part.position + size < part.stop:
                data = await connection.read()
                self._last = asyncio.get_running_loop().time()
                if not data:
                    raise EOFError(f"the answer ended after {at} of {self._size} bytes")
                new = data[max(0, part.position + size - at) : part.stop - at]
                at += len(data)
                held.append(new)
                size += len(new)
                if size >= _WRITE_BYTES:
                    await self._write(held, part)
                    held, size = [], 0
        finally:
            if held:
                await self._write(held, part)  # what came before it broke off counts
        return at

    async def _write(self, pieces: list[bytes], part: _Range) -> None:
        self._writing += 1
        try:
            await asyncio.to_thread(self._sink.write, pieces, part.position)
        finally:
            self._writing -= 1
            self._last = asyncio.get_running_loop().time()
        part.position += sum(map(len, pieces))
        self._grown.set()

    async def _watch(self) -> None:
        """Give up all connections when none has brought a byte for too long. Time spent in writing does not count."""
        loop = asyncio.get_running_loop()
        while True:
            loop.run_in_executor(None, int)  # raises when the process is ending
            if self._writing:
                self._last = loop.time()
            left = self._last + self._config.stall_seconds - loop.time()
            if left > 0:
                await asyncio.sleep(min(left, _GLANCE_SECONDS))
                continue
            for clock in self._clocks:
                clock.reschedule(loop.time())
            self._clocks.clear()
            self._last = loop.time()


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
