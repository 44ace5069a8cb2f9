"""How each behaviour looks on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from pipelines.sample_web import bodies
from pipelines.sample_web.payloads import encode
from pipelines.sample_web.site import Behaviour, Page

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]
RECOVERS_AFTER = 1
"""Answers of 503 before a recovering page turns good."""
SILENCE_SECONDS = 30.0
"""How long the silent and the dripping pages last, for a client that has no time limit of its own."""
DRIP_SECONDS = 0.25
DRIP_BYTES = 32


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    host: str
    target: str
    close: bool

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.target}"


def head(status: int, media_type: str, length: int | None, **extra: str) -> bytes:
    """Status line and headers; `length` None leaves Content-Length out. `_` in names of `extra` becomes `-`."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {media_type}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in extra.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Answerer:
    """Writes answers; owns the drawing threads and the cache. Lives on the server's event loop."""

    def __init__(self, cache_bytes: int) -> None:
        self._room = cache_bytes
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._making: dict[str, asyncio.Future[bytes]] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="sample-web-draw")
        self._refused: Counter[str] = Counter()
        self._steps: dict[Behaviour, Callable[[Page, Pipe], Awaitable[bool]]] = {
            Behaviour.recovering: self._recovering,
            Behaviour.reset: _reset,
            Behaviour.truncated: self._truncated,
            Behaviour.endless: _endless,
            Behaviour.oversize: _oversize,
            Behaviour.drip: _drip,
            Behaviour.never: _never,
        }

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def warm(self, pages: Iterable[Page]) -> None:
        """Draw the pages' pictures, one at a time, so that a request never waits for more than one of them."""
        for page in pages:
            if page.payload is not None:
                await self._picture(page)

    async def answer(self, page: Page | None, request: Request, pipe: Pipe) -> bool:
        """Answer one request; True when the connection may carry another."""
        writer = pipe[1]
        if page is None:
            page = Page(request.url, Behaviour.status, status=404)
        step = self._steps.get(page.behaviour)
        if step is not None:
            return await step(page, pipe)
        header, body = await self._whole(page)
        writer.write(header if request.method == "HEAD" else header + body)
        await writer.drain()
        return not request.close

    async def _whole(self, page: Page) -> tuple[bytes, bytes]:
        """Header and body of the behaviours that answer in one go."""
        kind = page.behaviour
        if kind is Behaviour.status:
            return head(page.status, "text/html", len(bodies.HTML)), bodies.HTML
        if kind is Behaviour.redirect:
            return head(page.status, "text/html", 0, Location=page.location or ""), b""
        if kind in _SMALL:
            body = bodies.small_png(_SMALL[kind], page.url)
            return head(200, "image/png", len(body)), body
        if kind in _FIXED:
            media_type, make = _FIXED[kind]
            body = await self._made(kind, make)
            return head(200, media_type, len(body)), body
        body, media_type = await self._picture(page)
        if kind is Behaviour.image_as_html:
            return head(200, "text/html; charset=utf-8", len(body)), body
        extra = {"X_Robots_Tag": "noai, noimageai"} if kind is Behaviour.image_noai else {}
        return head(200, media_type, len(body), **extra), body

    async def _picture(self, page: Page) -> tuple[bytes, str]:
        payload = page.payload
        if payload is None:
            raise ValueError(f"page {page.url} of the site map has behaviour {page.behaviour} and no payload")
        return await self._made(repr(payload), lambda: encode(payload)), payload.media_type

    async def _made(self, key: str, make: Callable[[], bytes]) -> bytes:
        """`make()` in a thread: once however many ask at a time, and not again while the cache has room for it."""
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.get_running_loop().run_in_executor(self._threads, make)
        try:
            body = await asyncio.shield(making)
        finally:
            if making.done():
                self._making.pop(key, None)
        if key not in self._cache:
            self._cache[key] = body
            self._room -= len(body)
        while self._room < 0:
            self._room += len(self._cache.popitem(last=False)[1])
        return body

    async def _recovering(self, page: Page, pipe: Pipe) -> bool:
        writer = pipe[1]
        self._refused[page.url] += 1
        if self._refused[page.url] <= RECOVERS_AFTER:
            writer.write(head(503, "text/plain", 0, Retry_After="1"))
        else:
            body, media_type = await self._picture(page)
            writer.write(head(200, media_type, len(body)) + body)
        await writer.drain()
        return True

    async def _truncated(self, page: Page, pipe: Pipe) -> bool:
        """Half of what Content-Length promises, then the connection ends."""
        body, media_type = await self._picture(page)
        pipe[1].write(head(200, media_type, len(body)) + body[: len(body) // 2])
        await pipe[1].drain()
        return False


_FIXED: dict[Behaviour, tuple[str, Callable[[], bytes]]] = {
    Behaviour.html_as_jpeg: ("image/jpeg", lambda: bodies.HTML),
    Behaviour.html: ("text/html; charset=utf-8", lambda: bodies.HTML),
    Behaviour.empty: ("image/jpeg", lambda: b""),
    Behaviour.bomb_header: ("image/png", bodies.bomb_header),
    Behaviour.bomb_zlib: ("image/png", bodies.bomb_zlib),
    Behaviour.svg: ("image/svg+xml", lambda: bodies.SVG),
}
_SMALL = {Behaviour.one_pixel: 1, Behaviour.tiny: 16}


async def _reset(page: Page, pipe: Pipe) -> bool:
    """No answer: the connection ends with a TCP reset (linger of zero)."""
    sock: socket.socket = pipe[1].get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pipe[1].transport.abort()
    return False


_NOISE = bytes((i * 167 + (i >> 3) * 59 + (i >> 9) * 31) % 256 for i in range(64 * 1024))
_JPEG_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


async def _endless(page: Page, pipe: Pipe) -> bool:
    """Chunks without an end; starts like a JPEG."""
    writer = pipe[1]
    writer.write(head(200, "image/jpeg", None, Transfer_Encoding="chunked"))
    piece = f"{len(_NOISE):x}\r\n".encode() + _NOISE + b"\r\n"
    writer.write(f"{len(_JPEG_START):x}\r\n".encode() + _JPEG_START + b"\r\n")
    for _ in range(bodies.ENDLESS_LIMIT // len(_NOISE)):
        writer.write(piece)
        await writer.drain()
    return False


async def _oversize(page: Page, pipe: Pipe) -> bool:
    """An honest Content-Length that is far too large, and the bytes to go with it."""
    writer = pipe[1]
    writer.write(head(200, "image/jpeg", bodies.OVERSIZE_BYTES) + _JPEG_START)
    left = bodies.OVERSIZE_BYTES - len(_JPEG_START)
    while left > 0:
        writer.write(_NOISE[:left])
        left -= len(_NOISE)
        await writer.drain()
    return True


async def _drip(page: Page, pipe: Pipe) -> bool:
    """A picture at a hundred bytes a second."""
    writer = pipe[1]
    writer.write(head(200, "image/jpeg", 200_000) + _JPEG_START)
    for _ in range(int(SILENCE_SECONDS / DRIP_SECONDS)):
        await writer.drain()
        await asyncio.sleep(DRIP_SECONDS)
        if writer.is_closing():
            break
        writer.write(_NOISE[:DRIP_BYTES])
    return False


async def _never(page: Page, pipe: Pipe) -> bool:
    """The request is read and nothing is said; ends when the client gives up."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pipe[0].read(1), SILENCE_SECONDS)
    return False
