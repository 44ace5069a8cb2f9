"""Many requests at once, bounded in memory: for async code (`ask_all`) and for a stage's `process` (`Asker`)."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from schemas.endpoint import EndpointConfig
from stages.synthesize.endpoint.client import Endpoint
from stages.synthesize.endpoint.wire import Failure, Reply, Request

Numbered = tuple[int, Reply | Failure]


async def ask_all(requests: Iterable[Request], endpoint: Endpoint) -> AsyncIterator[Numbered]:
    """(index, outcome) for every request, as they come; at most 3/2 `max_in_flight` requests are held at a time.

    Closing the iterator, cancelling the task or an error gives up what has not been sent, and lets what was sent arrive
    in the cache (`drain_s`)."""
    window = endpoint.config.timing.max_in_flight
    window += window // 2  # while replies wait for the disk, their slots are used
    done: asyncio.Queue[tuple[int, asyncio.Task[Reply | Failure]]] = asyncio.Queue()
    pending: set[asyncio.Task[Reply | Failure]] = set()
    numbered = enumerate(requests)

    def note(index: int) -> Callable[[asyncio.Task[Reply | Failure]], None]:
        return lambda task: done.put_nowait((index, task))

    try:
        more = True
        while more or pending:
            while more and len(pending) < window:
                item = next(numbered, None)
                if item is None:
                    more = False
                    break
                task = asyncio.create_task(endpoint.ask(item[1]))
                task.add_done_callback(note(item[0]))
                pending.add(task)
            if pending:
                index, task = await done.get()
                pending.discard(task)
                yield index, task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if pending:
            await endpoint.drain()


class Asker:
    """The same for a stage: `open()` once a worker, `ask_all` in each `process`, `close()` at the end.

    Owns an event loop, so that connections, pace and what was learned live from batch to batch. Call from one thread,
    outside any running loop."""

    def __init__(self, config: EndpointConfig, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._runner = asyncio.Runner()
        self.endpoint = Endpoint(config, folder, environ)

    def open(self) -> Self:
        self._runner.run(self.endpoint.__aenter__())
        return self

    def ask_all(
        self, requests: Iterable[Request], seen: Callable[[int, Reply | Failure], object] | None = None
    ) -> list[Reply | Failure]:
        """Outcomes in the order of the requests. Raises as `Endpoint.ask`; Ctrl-C keeps what was paid for.

        `seen` is told of each as it comes (index, outcome), in the loop's thread: it must not take long."""

        async def collect() -> list[Reply | Failure]:
            found: dict[int, Reply | Failure] = {}
            async for index, outcome in ask_all(requests, self.endpoint):
                found[index] = outcome
                if seen is not None:
                    seen(index, outcome)
            return [found[index] for index in range(len(found))]

        return self._runner.run(collect())

    def close(self) -> None:
        try:
            self._runner.run(self.endpoint.__aexit__())
        finally:
            self._runner.close()
