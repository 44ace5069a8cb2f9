"""Chat completions from one OpenAI-compatible endpoint: cached, capped, paced, one failure never touching another.

A request becomes a Reply or a Failure; only what makes every request pointless raises (WrongRequest: key, model,
address, empty account), and OSError where the cache cannot be written. A reply is in the cache before anything else
happens to it.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from schemas.endpoint import EndpointConfig, Structured
from schemas.errors import WrongRequest
from stages.synthesize.endpoint.cache import Record
from stages.synthesize.endpoint.money import Budget, Refusal, Reservation
from stages.synthesize.endpoint.pace import CircuitOpen, Pace, Ticket, Verdict
from stages.synthesize.endpoint.quota import quota_wait
from stages.synthesize.endpoint.trouble import Trouble
from stages.synthesize.endpoint.wire import (
    PATHS,
    Answer,
    Failure,
    FailureReason,
    Reply,
    Request,
    Tokens,
    body,
    one_line,
    prompt_tokens_most,
    read,
    request_key,
)

if TYPE_CHECKING:
    import openai


@dataclass(slots=True)
class Counts:
    """What a client did; for logs, never for the build's files."""

    sent: int = 0
    hits: int = 0
    limited: int = 0
    faults: int = 0
    format_refused: int = 0


class Endpoint:
    """`async with Endpoint(config, folder) as endpoint`. `folder`: the reply cache, local, shared as one likes.

    Raises WrongRequest where the key's environment variable is not set."""

    def __init__(self, config: EndpointConfig, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self.config = config
        self.counts = Counts()
        self._key = config.key(environ)
        self.budget = Budget(config, folder)
        self.pace = Pace(config.timing)
        self._client: openai.AsyncOpenAI | None = None
        self._asking: dict[str, asyncio.Future[Reply | Failure | None]] = {}
        self._flying: set[asyncio.Task[Record | Trouble]] = set()
        self._mode = Structured.json_schema if config.structured is Structured.auto else config.structured
        self._accepted: set[Structured] = set()
        self._doom: WrongRequest | None = None
        """What one request found to be wrong for all; nothing is sent after it."""

    async def __aenter__(self) -> Self:
        from stages.synthesize.endpoint.transport import connect

        self._client = connect(self.config, self._key)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        if self._client is not None:
            await self._client.close()
        self.budget.cache.close()

    async def drain(self) -> None:
        """Lets requests in flight arrive and be kept, for at most `drain_s`; the rest is cut off."""
        if self._flying:
            _, late = await asyncio.wait(self._flying, timeout=self.config.timing.drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def ask(self, request: Request) -> Reply | Failure:
        """One request. The same request asked twice at a time is sent once."""
        key = request_key(request, self.config)
        while True:
            found = self.budget.cache.get(key)
            if found is not None:
                self.counts.hits += 1
                return told(found, True, self.budget)
            other = self._asking.get(key)
            if other is None:
                break
            outcome = await asyncio.shield(other)
            if isinstance(outcome, Failure):
                return outcome
        mine = self._asking[key] = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            outcome = await self._try(key, request)
            return outcome
        finally:
            del self._asking[key]
            mine.set_result(outcome)

    async def _try(self, key: str, request: Request) -> Reply | Failure:
        timing, mode = self.config.timing, self._mode
        failures = refusals = tries = 0
        while True:
            if self.config.structured is Structured.auto and _rank(self._mode) > _rank(mode):
                mode = self._mode
            met = await self._attempt(key, request, mode)
            if isinstance(met, Failure):
                return Failure(met.reason, met.evidence, tries)
            tries += 1
            if not isinstance(met, Trouble):
                return await self._kept(met, request, mode)
            if met.format_refused:
                weaker = self._weaker(mode)
                if weaker is None:
                    return Failure(met.reason, met.evidence, tries)
                mode = weaker
                continue
            limited = met.verdict is Verdict.limited
            refusals, failures = refusals + limited, failures + (not limited)
            if met.final or failures >= timing.tries or refusals >= timing.refusals:
                return Failure(met.reason, met.evidence, tries)
            wait = min(met.wait or 0.0, timing.wait_most_s)
            await asyncio.sleep(wait + self.pace.backoff(0 if wait else failures + refusals - 1))

    async def _attempt(self, key: str, request: Request, mode: Structured) -> Record | Trouble | Failure:
        """A slot, a reservation, an exchange that goes on if whoever waits for it is cancelled."""
        config = self.config
        most = Tokens(
            prompt_tokens_most(request.messages, request.schema, config.image_tokens),
            request.max_tokens or config.max_tokens,
        )
        try:
            ticket = await self.pace.enter()
        except CircuitOpen:
            return Failure(FailureReason.circuit_open, f"the endpoint failed {config.timing.breaker_probes} probes")
        made: Reservation | Refusal | None = None
        try:
            if self._doom is not None:
                raise self._doom
            while (made := self.budget.reserve(key, most)) is Refusal.wait:
                await self.budget.change()
        finally:
            if not isinstance(made, Reservation):
                self.pace.leave(ticket, Verdict.unused)
        if made is Refusal.paid_already:
            found = self.budget.cache.get(key)
            assert found is not None
            return found
        if not isinstance(made, Reservation):
            caps = f"caps: {config.caps.tokens or 'no'} tokens, {config.caps.money or 'no'} money"
            return Failure(FailureReason.over_cap, f"{self._spent()}; this needs up to {most.total} tokens; {caps}")
        task = asyncio.create_task(self._exchange(ticket, made, body(request, config, mode)))
        self._flying.add(task)
        task.add_done_callback(self._landed)
        return await asyncio.shield(task)

    def _landed(self, task: "asyncio.Task[Record | Trouble]") -> None:
        self._flying.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody did, the request was given up and needs no traceback

    def _spent(self) -> str:
        account = self.budget.account
        return f"spent {account.tokens} tokens, {self.budget.spent} money, {account.open_tokens} tokens open"

    async def _exchange(self, ticket: Ticket, made: Reservation, sent: dict[str, object]) -> Record | Trouble:
        verdict = Verdict.unused
        try:
            met, wait = await self._send(ticket, made, sent)
            # no await from here to the record
            if isinstance(met, Answer):
                verdict = Verdict.ok
                record = self.budget.keep(made, met)
            else:
                verdict, record = met.verdict, self._close(made, met)
            if wait:
                self.pace.hold(wait)
            return record
        finally:
            self.budget.lose(made)  # no effect where it is settled
            self.pace.leave(ticket, verdict)

    def _close(self, made: Reservation, met: Trouble) -> Trouble:
        self.counts.limited += met.verdict is Verdict.limited
        self.counts.faults += met.verdict in (Verdict.fault, Verdict.overload)
        self.counts.format_refused += met.format_refused
        if met.usage is not None:
            self.budget.spend(made, met.usage)
        elif met.billed is False:
            self.budget.void(made)
        return met

    async def _send(self, ticket: Ticket, made: Reservation, sent: dict[str, object]) -> tuple[Answer | Trouble, float]:
        """An answer or what went wrong, and how long all requests should hold."""
        import openai

        from stages.synthesize.endpoint.transport import TooLarge, exchange, from_connection

        assert self._client is not None, "use `async with Endpoint(...)`"
        self.counts.sent += 1
        limit = self.config.timing.request_s
        try:
            async with asyncio.timeout(limit):
                data, headers = await exchange(self._client, PATHS[self.config.api], sent, made.attempt)
        except TimeoutError:
            return Trouble(FailureReason.timeout, f"no whole reply in {limit:g} s", Verdict.overload), 0.0
        except openai.APIConnectionError as error:
            return from_connection(error), 0.0
        except TooLarge as error:
            return Trouble(FailureReason.too_large, str(error), Verdict.ok, final=True), 0.0
        except openai.APIStatusError as error:
            trouble = self._status(error, made)
            wait = trouble.wait or 0.0
            return trouble, max(wait, quota_wait(error.response.headers, 0) if trouble.wait is None else 0.0)
        met = read(data, self.config.api)
        wait = quota_wait(headers, made.tokens.total, self.pace.begun - ticket.number - 1)
        if isinstance(met, Answer):
            return met, wait
        return Trouble(met.reason, met.evidence, Verdict.fault, usage=met.usage), wait

    def _status(self, error: "openai.APIStatusError", made: Reservation) -> Trouble:
        from stages.synthesize.endpoint.transport import from_status

        try:
            trouble = from_status(error, self.config)
        except WrongRequest as wrong:
            self.budget.void(made)
            self._doom = WrongRequest(self._without_key(wrong.what), wrong.remedy)
            raise self._doom from None
        return replace(trouble, evidence=self._without_key(trouble.evidence))

    def _without_key(self, text: str) -> str:
        return text if self.config.api_key_env is None else text.replace(self._key, "(key)")

    async def _kept(self, record: Record, request: Request, mode: Structured) -> Reply | Failure:
        if request.schema is not None:
            self._learn(mode)
        await self.budget.cache.durable()
        return told(record, False, self.budget)

    def _weaker(self, mode: Structured) -> Structured | None:
        from stages.synthesize.endpoint.transport import weaker

        return weaker(mode) if self.config.structured is Structured.auto else None

    def _learn(self, mode: Structured) -> None:
        """A weaker mode worked, and the stronger never did here: all requests use it from now on."""
        self._accepted.add(mode)
        if self._mode not in self._accepted and _rank(mode) > _rank(self._mode):
            self._mode = mode


def told(record: Record, cached: bool, budget: Budget) -> Reply | Failure:
    """What the cache holds, as the caller gets it."""
    usage = Tokens(*record["use"])
    if record["finish"] == "content_filter":
        return Failure(FailureReason.content_filter, one_line(f"finish_reason=content_filter: {record['text']}"))
    return Reply(
        text=record["text"],
        finish_reason=record["finish"],
        usage=usage,
        cached=cached,
        cost=budget.money(usage),
        refused=record["refused"],
        counted=record["counted"],
    )


def _rank(mode: Structured) -> int:
    return (Structured.json_schema, Structured.json_object, Structured.none).index(mode)
