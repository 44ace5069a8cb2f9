"""`python -m bench synthesize [REQUESTS]`: the endpoint client against a plain asyncio + openai loop.

A loopback server of its own process answers after a log-normal time (median 2 s, sigma 0.4, drawn from the request's
text, so that both clients wait the same) with 2.5 kB, as a conversation is long. 256 in flight each. Its ceiling for N
requests is 256 / the mean of their times. `steady`: from the first moment with 256 in flight to the last request sent.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.harness import report

MEDIAN, SIGMA = 2.0, 0.4
IN_FLIGHT = 256
WORDS = ("the", "a", "red", "cup", "on", "table", "dog", "left", "of", "right", "person", "holding", "two", "plate")


def delay(text: str) -> float:
    """Seconds that the server takes for a prompt."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return MEDIAN * math.exp(random.Random(seed).gauss(0.0, SIGMA))


def prompt(n: int) -> str:
    """About 1.2 kB, as captions and boxes are."""
    rng = random.Random(n)
    return f"{n}: " + " ".join(rng.choices(WORDS, k=260))


def answer(text: str) -> bytes:
    """About 2.5 kB, with usage."""
    said = " ".join(random.Random(len(text)).choices(WORDS, k=500))
    usage = {"prompt_tokens": 300, "completion_tokens": 500, "total_tokens": 800}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    found = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(found).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, one request at a time."""

    def __init__(self, seen: list[tuple[float, int]]) -> None:
        self._data = b""
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        if len(rest) >= length:
            self._data = rest[length:]
            self._begin(json.loads(rest[:length])["messages"][-1]["content"])

    def _begin(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        self._seen.append((time.monotonic(), 1))
        loop.call_later(delay(text), self._end, text)

    def _end(self, text: str) -> None:
        self._seen.append((time.monotonic(), -1))
        data = answer(text)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head.encode() + data)  # pyright: ignore[reportAttributeAccessIssue]


async def serve() -> None:
    """Prints its port; at the end of stdin, what came and went when."""
    seen: list[tuple[float, int]] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    json.dump(seen, sys.stdout)


async def ours(url: str, n: int) -> int:
    """Cache, account, caps, pace, fsync: as a build uses it."""
    from schemas.endpoint import Caps, EndpointConfig, Prices, Timing
    from stages.synthesize.endpoint.client import Endpoint
    from stages.synthesize.endpoint.many import ask_all
    from stages.synthesize.endpoint.wire import Reply, Request

    config = EndpointConfig(
        base_url=url,
        model="m",
        api_key_env=None,
        timing=Timing(max_in_flight=IN_FLIGHT),
        prices=Prices.model_validate({"prompt": "0.15", "completion": "0.6"}),
        caps=Caps(tokens=10**12),
    )
    got = 0
    requests = (Request([{"role": "user", "content": prompt(i)}]) for i in range(n))
    with tempfile.TemporaryDirectory() as folder:
        async with Endpoint(config, Path(folder)) as endpoint:
            async for _, outcome in ask_all(requests, endpoint):
                got += isinstance(outcome, Reply)
    return got


async def plain(url: str, n: int) -> int:
    """What one writes in ten lines: everything at once under a semaphore; replies in a list, on no disk."""
    import openai

    client = openai.AsyncOpenAI(api_key="none", base_url=url)
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(i: int) -> str:
        async with gate:
            reply = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": prompt(i)}], temperature=0.7, max_tokens=1024
            )
        return reply.choices[0].message.content or ""

    return len(await asyncio.gather(*(one(i) for i in range(n))))


CLIENTS: dict[str, Callable[[str, int], Coroutine[Any, Any, int]]] = {"ours": ours, "plain": plain}


def client(name: str, url: str, n: int) -> None:
    """One client in this process; prints what it took. Imports are not counted."""
    importlib.import_module("openai.resources.chat.completions")
    if name == "ours":
        importlib.import_module("stages.synthesize.endpoint.many")
        importlib.import_module("stages.synthesize.endpoint.transport")
    before = resource.getrusage(resource.RUSAGE_SELF)
    got = asyncio.run(CLIENTS[name](url, n))
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"got": got, "cpu": cpu, "rss": after.ru_maxrss * 1024, "rss0": before.ru_maxrss * 1024}))


def measure(name: str, n: int) -> dict[str, Any]:
    """One row: a server and a client, each a process of its own."""
    run = [sys.executable, "-m", "bench", "synthesize"]
    server = subprocess.Popen([*run, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    try:
        done = subprocess.run([*run, "--client", name, "--url", url, str(n)], stdout=subprocess.PIPE, check=True)
    finally:
        seen, _ = server.communicate("")
    told = json.loads(done.stdout)
    assert told["got"] == n, told
    return {"client": name, **shares(json.loads(seen), n), **costs(told, n)}


def shares(seen: list[tuple[float, int]], n: int) -> dict[str, Any]:
    """From the server's own log of arrivals (+1) and answers (-1)."""
    ceiling = IN_FLIGHT * n / sum(delay(prompt(i)) for i in range(n))
    flying, full, most = 0, math.inf, 0
    for at, step in seen:
        flying += step
        most = max(most, flying)
        full = min(full, at) if flying >= IN_FLIGHT * 0.98 else full
    last = max(at for at, step in seen if step > 0)
    begin, end = seen[0][0], seen[-1][0]
    steady = sum(full <= at <= last for at, step in seen if step < 0) / (last - full)
    return {
        "replies": n,
        "most in flight": most,
        "s until 251 in flight": full - begin,
        "replies/s, steady": steady,
        "share of ceiling, steady": steady / ceiling,
        "share of ceiling, ramp and tail included": n / (end - begin) / ceiling,
    }


def costs(told: dict[str, Any], n: int) -> dict[str, Any]:
    """CPU and memory of the client's process."""
    return {
        "CPU ms per request": told["cpu"] / n * 1000,
        "RSS MiB": told["rss"] / 2**20,
        "RSS MiB over imports": (told["rss"] - told["rss0"]) / 2**20,
    }


def run(args: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench synthesize")
    parser.add_argument("requests", type=int, nargs="?", default=6000)
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--client", choices=sorted(CLIENTS), help="be one client")
    parser.add_argument("--url")
    told = parser.parse_args(args)
    if told.serve:
        asyncio.run(serve())
    elif told.client:
        client(told.client, told.url, told.requests)
    else:
        rows = [measure(name, told.requests) for name in CLIENTS]
        report("synthesize", rows, {"median latency s": MEDIAN, "sigma": SIGMA, "in flight": IN_FLIGHT})
