"""A loopback HTTP server that behaves as each path's script says, and counts what it was asked for."""

import hashlib
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    """One answer: what is sent of the asked range, and how."""

    status: int | None = None
    """null: 206 to a range, 200 otherwise."""
    data: bytes | None = None
    """The object as this answer knows it; null: as it is."""
    ranges: bool = True
    """False: the whole object, whatever is asked for."""
    sized: bool = True
    """False: no Content-Length; the end is where the connection closes."""
    stop_after: int | None = None
    """Bytes after which nothing more comes."""
    then: str = "cut"
    """After `stop_after`: `cut` closes the connection, `stall` leaves it open."""
    piece: int = 1 << 20
    """Bytes per send."""
    pause: float = 0.0
    """Seconds between sends."""
    delay: float = 0.0
    """Seconds before the answer begins."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    path: str
    start: int
    stop: int


Script = Callable[[int, Request], Answer]
"""(how often this path was asked for before, request) → answer."""


class Hostile:
    """`objects` by path, `scripts` by path; `requests` in order of arrival."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.scripts: dict[str, Script] = {}
        self.requests: list[Request] = []
        self.headers: list[dict[str, str]] = []
        self.clients: set[tuple[str, int]] = set()
        self.over = threading.Event()
        self._lock = threading.Lock()

    def begin(self, path: str, headers: dict[str, str]) -> tuple[Request, Answer]:
        asked = headers.get("Range")
        data = self.objects.get(path, b"")
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        request = Request(path, int(found[1]) if found else 0, int(found[2]) + 1 if found else len(data))
        with self._lock:
            before = sum(r.path == path for r in self.requests)
            self.requests.append(request)
            self.headers.append(headers)
        if path not in self.objects:
            return request, Answer(status=404)
        return request, self.scripts.get(path, lambda _n, _r: Answer())(before, request)

    def starts(self, path: str) -> list[int]:
        """First bytes of the requests for a path."""
        return [r.start for r in self.requests if r.path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Hostile

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        request, answer = self.web.begin(self.path, dict(self.headers))
        self.web.clients.add(self.client_address)
        self.web.over.wait(answer.delay)
        data = self.web.objects.get(self.path, b"") if answer.data is None else answer.data
        ranged = answer.ranges and "Range" in self.headers
        status = answer.status or (206 if ranged else 200)
        if ranged and answer.status is None and request.start >= len(data):
            status, ranged = 416, False
            self.send_response(status)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            body = b""
        else:
            self.send_response(status)
            body = data[request.start : request.stop] if ranged else data
            body = body if status in (200, 206) else b""
        headers = (
            {"Content-Range": f"bytes {request.start}-{request.start + len(body) - 1}/{len(data)}"} if ranged else {}
        )
        if answer.sized:
            headers["Content-Length"] = str(len(body))
        for name, value in {**headers, **answer.headers}.items():
            self.send_header(name, value)
        self.close_connection = not answer.sized or answer.stop_after is not None
        self.end_headers()
        self._send(body, answer)

    def _send(self, body: bytes, answer: Answer) -> None:
        end = len(body) if answer.stop_after is None else answer.stop_after
        for at in range(0, min(end, len(body)), answer.piece):
            self.wfile.write(body[at : min(at + answer.piece, end)])
            self.wfile.flush()
            if answer.pause and self.web.over.wait(answer.pause):
                return
        if answer.stop_after is not None and answer.then == "stall":
            self.web.over.wait(60)


@contextmanager
def serving() -> Iterator[tuple[Hostile, str]]:
    """(server's state, its URL) while the block runs."""
    web = Hostile()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up on purpose
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield web, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        web.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Until the condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def held_bytes(folder: Path) -> int:
    """Lengths of all files of a folder, each once, though others are renamed meanwhile."""
    found: dict[int, int] = {}
    for path in [*folder.iterdir(), *folder.iterdir()]:
        with suppress(FileNotFoundError):
            status = path.stat()
            found[status.st_ino] = status.st_size
    return sum(found.values())


def fetch_for_parent(fetcher: Any, facts: Any, answers: Any) -> None:
    """In a child process: the sha256 of a fetched shard. Here, because a spawned child imports this module."""
    fd = fetcher.fetch(facts)
    answers.put(hashlib.sha256(os.pread(fd, facts.bytes, 0)).hexdigest())
    os.close(fd)


def fetch_for_ever(fetcher: Any, shards: list[Any], seed: float) -> None:
    """In a child process: shards at random, two open at a time, each compared with its sha256."""
    dice, before = random.Random(seed), None
    while True:
        facts = dice.choice(shards)
        fd = fetcher.fetch(facts)
        assert hashlib.sha256(os.pread(fd, facts.bytes + 1, 0)).hexdigest() == facts.sha256
        if before is not None:
            os.close(before)
        before = fd
