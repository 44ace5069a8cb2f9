"""Connections of one request each, taken from a stack.

httpcore's pool looks at every connection, with a system call for each idle one, whenever a request begins or ends: at
256 in flight that was half of the CPU a request took (`python -m bench synthesize`).
"""

import ssl
from collections.abc import AsyncIterator, Callable

import httpx2

_ONE = httpx2.Limits(max_connections=1, max_keepalive_connections=1)


class _Returning(httpx2.AsyncByteStream):
    """Gives its lane back when the body is read or given up."""

    def __init__(self, stream: httpx2.AsyncByteStream, back: Callable[[], None]) -> None:
        self._stream = stream
        self._back: Callable[[], None] | None = back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            back, self._back = self._back, None
            if back is not None:
                back()


class Lanes(httpx2.AsyncBaseTransport):
    """As many connections as there are requests at a time; whoever limits those limits these."""

    def __init__(self) -> None:
        self._tls: ssl.SSLContext = httpx2.create_ssl_context()
        self._all: list[httpx2.AsyncHTTPTransport] = []
        self._free: list[httpx2.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not self._free:
            self._free.append(httpx2.AsyncHTTPTransport(verify=self._tls, limits=_ONE))
            self._all.append(self._free[-1])
        lane = self._free.pop()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._free.append(lane)
            raise
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _Returning(stream, lambda: self._free.append(lane))
        return response

    async def aclose(self) -> None:
        for lane in self._all:
            await lane.aclose()
