"""OpenAI's Batch API behind the same `ask_all`: half the price, hours of waiting (developers.openai.com, guide Batch).

The same reply cache, account and caps as one by one. A run may be killed at any instant and started again: what was
handed in is found (book.py), collected (collect.py), and not handed in twice.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

from schemas.endpoint import EndpointConfig, Structured
from schemas.errors import HandedIn, WrongRequest
from schemas.synthesize import BatchConfig
from stages.synthesize.endpoint.book import Batch, Book
from stages.synthesize.endpoint.client import told
from stages.synthesize.endpoint.money import Budget, Refusal, Reservation
from stages.synthesize.endpoint.trouble import Trouble
from stages.synthesize.endpoint.wire import (
    Failure,
    FailureReason,
    Reply,
    Request,
    Tokens,
    body,
    one_line,
    prompt_tokens_most,
    request_key,
)

if TYPE_CHECKING:
    from stages.synthesize.endpoint.collect import Collector, Round
    from stages.synthesize.endpoint.remote import Remote


class BatchAsker:
    """As `Asker`: `open()` once a worker, `ask_all` in each `process`, `close()` at the end."""

    def __init__(
        self, config: EndpointConfig, batch: BatchConfig, folder: Path, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.config, self.batch = config, batch
        self._key = config.key(environ)
        self._book = Book()
        self.budget = Budget(config, folder, self._book.fold, Decimal(str(batch.discount)))
        self._folder = folder
        self._runner = asyncio.Runner()
        self._remote: Remote | None = None
        self._collector: Collector | None = None
        self._drawn = 0

    def open(self) -> Self:
        from stages.synthesize.endpoint.collect import Collector
        from stages.synthesize.endpoint.remote import Remote

        self._remote = Remote(self.config, self._key, self.batch.requests * self.config.reply_bytes_most)
        self._collector = Collector(self.config, self.budget, self._remote, self._folder)
        return self

    def ask_all(
        self, requests: Iterable[Request], seen: Callable[[int, Reply | Failure], object] | None = None
    ) -> list[Reply | Failure]:
        """Outcomes in the order of the requests; `seen` is told of each at the end.

        Raises HandedIn where batches are still worked on after `batch.wait_s` (the same call in a later run goes on),
        WrongRequest as `Endpoint.ask`."""
        found = self._runner.run(self._ask_all(list(requests)))
        for index, outcome in enumerate(found):
            if seen is not None:
                seen(index, outcome)
        return found

    def close(self) -> None:
        """What is handed in goes on at the provider."""
        try:
            if self._remote is not None:
                self._runner.run(self._remote.close())
        finally:
            self.budget.cache.close()
            self._runner.close()

    async def _ask_all(self, requests: list[Request]) -> list[Reply | Failure]:
        from stages.synthesize.endpoint.collect import Round

        assert self._collector is not None, "open() first"
        keys = [request_key(request, self.config) for request in requests]
        round = Round(dict(zip(keys, requests, strict=True)))
        self._take_over()
        cached = {key for key in round.wanted if key in self.budget.cache}
        started = time.monotonic()
        while self._unanswered(round):
            self._take_over()
            for batch in self._mine():
                await self._collector.advance(batch, round)
            if round.doom is not None:
                raise round.doom
            if not await self._hand_in(round):
                continue  # something failed at once, or was answered meanwhile
            if time.monotonic() - started >= self.batch.wait_s:
                self._stop(round)
            await asyncio.sleep(self.batch.poll_s)
            round.held = False
        await self.budget.cache.durable()
        return [self._outcome(key, round, key in cached) for key in keys]

    def _mine(self) -> list[Batch]:
        return [batch for batch in self._book.batches.values() if batch.owner == self.budget.cache.writer]

    def _take_over(self) -> None:
        """Reads what others wrote; a dead writer's batches become ours."""
        cache = self.budget.cache
        with cache.locked():
            cache.refresh()
            for batch in list(self._book.batches.values()):
                if batch.owner != cache.writer and not cache.living(batch.owner or batch.uid.partition("-")[0]):
                    turn = batch.turn + 1
                    cache.append({"t": "batch", "n": batch.uid, "s": "own", "w": cache.writer, "turn": turn})
                    for made in batch.asks.values():
                        self.budget.resume(made)

    def _unanswered(self, round: "Round") -> list[str]:
        return [key for key in round.wanted if key not in round.failed and key not in self.budget.cache]

    def _outcome(self, key: str, round: "Round", cached: bool) -> Reply | Failure:
        found = self.budget.cache.get(key)
        return round.failed[key] if found is None else told(found, cached, self.budget)

    def _stop(self, round: "Round") -> None:
        left, batches = len(self._unanswered(round)), self._book.batches.values()
        names = ", ".join(batch.id or batch.uid for batch in batches)
        raise HandedIn(
            f"{left} of {len(round.wanted)} requests wait for {len(batches)} batches at the provider ({names[:200]})",
            "run the same command again later: what is done is collected then, and nothing is handed in twice",
        )

    async def _hand_in(self, round: "Round") -> bool:
        """Everything that is in no batch yet. True: what is unanswered now is waited for."""
        there = self._book.keys()
        left = deque(key for key in self._unanswered(round) if key not in there)
        while left and not round.held:
            batch = self._draw(left, round)
            if batch is not None:
                await self._send(batch, round)
        there = self._book.keys()
        return any(key in there for key in self._unanswered(round)) or round.held

    def _draw(self, left: deque[str], round: "Round") -> Batch | None:
        """Reserves requests and writes them to a file, until a batch is full. None: not one may leave."""
        assert self._collector is not None
        cache = self.budget.cache
        self._drawn += 1
        uid = f"{cache.writer}-b{self._drawn}"
        count = size = 0
        with (self._folder / f"{uid}.jsonl").open("wb") as file:
            while left and count < self.batch.requests:
                request = round.wanted[left[0]]
                mode = round.modes.get(left[0], self._collector.mode)
                text = self._line(f"{cache.writer}-{10**12}", request, mode)
                if size and size + len(text) > self.batch.bytes:
                    break
                key = left.popleft()
                if len(text) > self.batch.bytes:
                    said = f"the request has {len(text)} bytes, a batch's file at most {self.batch.bytes}"
                    round.fail(key, FailureReason.bad_request, said)
                    continue
                made = self._reserve(key, request, {"b": uid, "m": str(mode)})
                if made is Refusal.wait:
                    round.held = True
                    break
                if made is Refusal.over_cap:
                    round.fail(key, FailureReason.over_cap, self._spent())
                elif isinstance(made, Reservation):
                    size += file.write(self._line(made.attempt, request, mode))
                    count += 1
        if count:
            cache.append({"t": "batch", "n": uid, "s": "draft", "w": cache.writer, "api": self.config.api})
            return self._book.batches[uid]
        (self._folder / f"{uid}.jsonl").unlink()
        return None

    def _line(self, attempt: str, request: Request, mode: Structured) -> bytes:
        from stages.synthesize.endpoint.lines import line

        return line(attempt, self.config.api, body(request, self.config, mode))

    def _reserve(self, key: str, request: Request, more: dict[str, object]) -> Reservation | Refusal:
        most = Tokens(
            prompt_tokens_most(request.messages, request.schema, self.config.image_tokens),
            request.max_tokens or self.config.max_tokens,
        )
        return self.budget.reserve(key, most, {"most": [most.prompt, most.completion], **more})

    def _spent(self) -> str:
        caps = f"caps: {self.config.caps.tokens or 'no'} tokens, {self.config.caps.money or 'no'} money"
        return f"spent {self.budget.account.tokens} tokens, {self.budget.spent} money; {caps}"

    async def _send(self, batch: Batch, round: "Round") -> None:
        """Upload, then create. What may have been created is on the disk before it may be."""
        assert self._remote is not None and self._collector is not None
        path = self._folder / f"{batch.uid}.jsonl"
        try:
            await self.budget.cache.durable()
            met = await self._remote.upload(path)
            if isinstance(met, str):
                self._collector.note(batch, "creating", at=int(time.time()))
                await self.budget.cache.durable()
                met = await self._remote.create(batch, met)
        except WrongRequest:
            if batch.state == "draft":  # else the next run asks the provider whether it has it
                self._collector.drop(batch)
            raise
        finally:
            path.unlink(missing_ok=True)
        if isinstance(met, str):
            self._collector.note(batch, "made", id=met)
            await self.budget.cache.durable()
        elif batch.state == "creating" and met.billed is None:
            self._collector.wait(batch, met, round)
        else:
            self._not_taken(batch, met, round)

    def _not_taken(self, batch: Batch, met: Trouble, round: "Round") -> None:
        assert self._collector is not None
        keys = [made.key for made in batch.asks.values()]
        self._collector.drop(batch)
        busy = met.reason is FailureReason.rate_limited
        reason = met.reason if busy or met.final else FailureReason.circuit_open
        for key in keys:
            round.fail(key, reason, one_line(f"the batch was not taken: {met.reason}: {met.evidence}"))
