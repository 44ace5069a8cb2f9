"""A real HTTP/1.1 server on loopback for a sample web folder.

Keep-alive, virtual hosts, pictures drawn on demand into a bounded cache, and every planted trouble on the wire. It
counts requests per full URL in `hits`; host `control.test` serves that count at `/__hits__`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.sample_web.answers import Answerer, Request, head
from pipelines.sample_web.site import Page, read_site

CONTROL_HOST = "control.test"
REFUSED_HOST = "refused.sample.test"
LOOPBACK = "127.0.0.1"
_HEAD_LIMIT = 64 * 1024


class SampleWebServer:
    """Serves FOLDER (from `write_pool`) until stopped. A context manager; also `start` and `stop`.

    `connect_to` maps host patterns to addresses, the most specific first, as a recipe's `download.connect_to` wants it.
    One of them is an address where nobody listens, held so that no one can. `warm` draws every picture from the start
    on, in the background, for a client that is short of time later.
    """

    def __init__(self, folder: Path, port: int = 0, cache_bytes: int = 256 << 20, warm: bool = False) -> None:
        self.pages: dict[str, Page] = read_site(folder)
        self.hits: Counter[str] = Counter()
        self._wanted_port, self._cache_bytes, self._warm = port, cache_bytes, warm
        self._listening = threading.Event()
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._refusing: socket.socket | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    @property
    def connect_to(self) -> dict[str, str]:
        if self._refusing is None:
            raise RuntimeError("the sample web server is not running; call start() first")
        return {
            REFUSED_HOST: f"{LOOPBACK}:{self._refusing.getsockname()[1]}",
            "*.test": f"{LOOPBACK}:{self.port}",
        }

    def start(self) -> Self:
        self._refusing = socket.socket()
        self._refusing.bind((LOOPBACK, 0))  # bound and never listening: connecting is refused
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="sample-web", daemon=True)
        self._thread.start()
        self._listening.wait()
        if self._failure is not None:
            self.stop()
            raise self._failure
        return self

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()
        if self._refusing is not None:
            self._refusing.close()
            self._refusing = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        answerer = Answerer(self._cache_bytes)
        try:
            server = await asyncio.start_server(
                lambda r, w: self._connection(answerer, r, w),
                LOOPBACK,
                self._wanted_port,
                limit=_HEAD_LIMIT,
                backlog=512,
            )
        except OSError as error:
            self._failure = error
            self._listening.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        warming = asyncio.create_task(answerer.warm(self.pages.values() if self._warm else ()))
        await self._stop.wait()
        warming.cancel()
        server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(list(self._open), timeout=5)
        answerer.close()

    async def _connection(self, answerer: Answerer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests one after another until either side closes."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is handled in a task of its own")
        self._open[task] = writer
        try:
            while (request := await _read_request(reader)) is not None:
                if not await self._answer(answerer, request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away or speaks another protocol: nothing is owed to it
        finally:
            writer.close()
            del self._open[task]

    async def _answer(
        self, answerer: Answerer, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if request.host == CONTROL_HOST:
            body = json.dumps(dict(sorted(self.hits.items()))).encode()
            known = request.target == "/__hits__"
            writer.write(head(200 if known else 404, "application/json", len(body)) + body)
            await writer.drain()
            return True
        self.hits[request.url] += 1
        return await answerer.answer(self.pages.get(request.url), request, (reader, writer))


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request's head, or None where the connection ends or what comes is not HTTP."""
    first = await reader.read(1)
    if not first.isalpha():  # the end, or a TLS hello, which would wait for us for ever
        return None
    raw = first + await reader.readuntil(b"\r\n\r\n")
    lines = raw.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    host = headers.get("host", "").lower().partition(":")[0]
    close = headers.get("connection", "").lower() == "close" or parts[2] == "HTTP/1.0"
    return Request(parts[0], host, parts[1], close)
