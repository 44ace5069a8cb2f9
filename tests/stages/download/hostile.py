"""A loopback web server that does what it is told, down to the byte, and counts what it was asked.

    with HostileServer() as server:
        server.pages["/a.jpg"] = answer(b"...")
        ... fetch http://any.test/a.jpg with connect_to = server.connect_to

A page is a function of an `Exchange`; it returns whether the connection may be used again.
"""

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Exchange:
    """One request, and the socket to answer it on."""

    connection: socket.socket
    path: str
    headers: dict[str, str]
    nth: int
    """How often this path was asked for, this time included."""
    stopped: threading.Event

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the server lives."""
        self.stopped.wait(seconds)


Page = Callable[[Exchange], bool]


def raw(data: bytes) -> Page:
    """These bytes, then the end of the connection."""

    def page(exchange: Exchange) -> bool:
        exchange.send(data)
        return False

    return page


def answer(body: bytes = b"", status: int = 200, delay: float = 0.0, **headers: str) -> Page:
    """A well-formed answer; header names have _ for -."""
    lines = {"Content-Length": str(len(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
    head = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"

    def page(exchange: Exchange) -> bool:
        exchange.wait(delay)
        exchange.send(head.encode() + body)
        return True

    return page


def in_turn(*pages: Page) -> Page:
    """The first page at the first request of the path, and so on; the last one for ever."""
    return lambda exchange: pages[min(exchange.nth, len(pages)) - 1](exchange)


def redirect(location: str, status: int = 302) -> Page:
    return answer(b"moved", status, Location=location)


def silent(exchange: Exchange) -> bool:
    """Reads the request and says nothing."""
    exchange.wait(30)
    return False


def drip(head: bytes, piece: bytes, every: float) -> Page:
    """`head`, then a piece at a time until somebody gives up."""

    def page(exchange: Exchange) -> bool:
        exchange.send(head)
        while not exchange.stopped.is_set():
            exchange.send(piece)
            exchange.wait(every)
        return False

    return page


@dataclass
class HostileServer:
    """Threads on one loopback port. All counters are by what reached the server, not by what the client says."""

    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    """Host header and path of every request, in order of arrival."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers (lower-case names) of every request."""
    connections: int = 0
    most_at_once: int = 0
    """Most requests that were being answered at the same time."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._now = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((self.address, self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    @property
    def connect_to(self) -> dict[str, str]:
        return {"*.test": f"{self.address}:{self.port}"}

    def quiet(self) -> None:
        """Wait until every connection that clients have closed is closed here too."""
        for thread in self._threads[1:]:
            thread.join(5)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client hung up, or a handshake failed: what the tests are about
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            reader = connection.makefile("rb")
            while not self._stopped.is_set() and self._exchange(connection, reader):
                pass
        with self._lock:
            self._open = [c for c in self._open if c is not connection]
        connection.close()

    def _exchange(self, connection: socket.socket, reader: object) -> bool:
        lines = []
        while (line := reader.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            lines.append(line.decode("latin-1").rstrip())
        if not lines:
            return False
        path = lines[0].split(" ")[1]
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in lines[1:])}
        with self._lock:
            self.hits[path] += 1
            self.order.append(headers.get("host", "") + path)
            self.requests.append(headers)
            nth = self.hits[path]
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            page = self.pages.get(path, answer(b"not here", 404))
            return page(Exchange(connection, path, headers, nth, self._stopped))
        finally:
            with self._lock:
                self._now -= 1
