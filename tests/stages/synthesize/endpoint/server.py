"""A loopback OpenAI-compatible server that does as its script says, and counts what it delivered."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

PROMPT, COMPLETION, CACHED = 20, 7, 4
"""What every reply's usage says."""


@dataclass
class Do:
    """What to do with one request."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    reset: bool = False
    """Close it with RST before any byte."""
    repeat: int = 1
    """Send the body so often, with no length told."""


def completion(text: str, finish: str = "stop", **message: Any) -> bytes:
    """A chat completion whose usage is PROMPT, COMPLETION, CACHED."""
    usage = {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "prompt_tokens_details": {"cached_tokens": CACHED},
    }
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    found = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(found).encode()


def response(text: str, status: str = "completed", why: str | None = None, **more: Any) -> bytes:
    """The same as a response object, with a reasoning item before the message."""
    usage = {
        "input_tokens": PROMPT,
        "output_tokens": COMPLETION,
        "input_tokens_details": {"cached_tokens": CACHED},
    }
    parts = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    output = [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": parts}]
    details = {"reason": why} if why else None
    found = {"id": "r", "object": "response", "status": status, "output": output, "usage": usage, **more}
    return json.dumps({**found, "incomplete_details": details, "error": more.get("error")}).encode()


def error(status: int, message: str, **more: Any) -> Do:
    """An error as OpenAI words it; `headers` aside, `more` goes into the error object."""
    headers = more.pop("headers", {})
    return Do(status, json.dumps({"error": {"message": message, **more}}).encode(), headers)


@dataclass
class Seen:
    """One request: its last message, its attempt id, its body; `delivered` once the reply was written whole."""

    text: str
    attempt: str
    sent: dict[str, Any]
    headers: dict[str, str]
    path: str = ""
    delivered: bool = False


Script = Callable[["Server", Seen], Do]


def echo(server: "Server", seen: Seen) -> Do:
    return Do(body=completion(f"re: {seen.text}"))


class Server:
    """`with Server(script) as server`: server.url; server.seen in order of arrival; `most` at a time in flight."""

    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.in_flight = self.most = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = started.result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def delivered(self) -> list[Seen]:
        return [s for s in self.seen if s.delivered]

    async def _stop(self) -> None:
        self._server.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that went away
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = head[0].split(" ", 2)
        if not path.endswith(("/chat/completions", "/responses")):
            return await self._answer(self.other(method, path, headers, data), None, writer)
        sent = json.loads(data or b"{}")
        last = (sent.get("messages") or sent["input"])[-1]
        seen = Seen(last["content"], headers.get("x-client-request-id", ""), sent, headers, path)
        self.seen.append(seen)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            do = self.script(self, seen)
            await asyncio.sleep(do.delay)
            return await self._answer(do, seen, writer)
        finally:
            self.in_flight -= 1

    async def _answer(self, do: Do, seen: Seen | None, writer: asyncio.StreamWriter) -> bool:
        if do.reset:
            writer.transport.abort()
            return False
        data = do.body or b""
        length = [] if do.repeat > 1 else [f"content-length: {len(data)}"]
        lines = [f"HTTP/1.1 {do.status} X", "content-type: application/json", *length]
        lines += [f"{k}: {v}" for k, v in do.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for _ in range(do.repeat):
            writer.write(data[: do.cut])
            await writer.drain()
        whole = do.cut is None and do.repeat == 1
        if seen is not None:
            seen.delivered = whole and do.status == 200
        return whole

    def other(self, method: str, path: str, headers: dict[str, str], data: bytes) -> Do:
        """Any other path."""
        return Do(404, b"{}")
