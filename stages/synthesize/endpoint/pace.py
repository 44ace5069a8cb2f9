"""How fast an endpoint is asked: an adaptive limit, waits the server asks for, backoff, a circuit breaker.

- The limit of requests in flight is `Level`'s. Retry-After and x-ratelimit-remaining-*/reset-* (quota.py) hold all.
- Backoff with full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015).
- Breaker: opened by failures in a row, then one probe at a time (Nygard, Release It!, 2007).
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from schemas.endpoint import Timing
from stages.synthesize.endpoint.level import Level


class Verdict(StrEnum):
    """What an exchange says about the endpoint."""

    ok = "ok"
    """It works: a reply, or a refusal of this one request."""
    limited = "limited"
    """It works, and wants less: 429."""
    overload = "overload"
    """It fails under load: 503, timeout."""
    fault = "fault"
    """It fails: 5xx, reset, garbage."""
    unused = "unused"
    """The slot was not used."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to one request in flight."""

    round: int
    """The level that it left under."""
    number: int
    """Requests that left before it."""
    probe: bool


class CircuitOpen(Exception):
    """The endpoint failed its last probe."""


class Breaker:
    """Closed, open until a time, or half open with one probe in flight."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.failures = 0
        self.until: float | None = None
        self.probing = False
        self.probes_failed = 0

    @property
    def given_up(self) -> bool:
        return self.probes_failed >= self._timing.breaker_probes

    def may(self, now: float) -> bool:
        return self.until is None or (now >= self.until and not self.probing)

    def close(self) -> None:
        self.failures = self.probes_failed = 0
        self.until, self.probing = None, False

    def fail(self, ticket: Ticket, now: float) -> None:
        timing = self._timing
        if ticket.probe:
            self.probing = False
            self.probes_failed += 1
        elif self.until is not None:
            return  # begun before it opened
        else:
            self.failures += 1
            if self.failures < timing.breaker_after:
                return
        self.until = now + min(timing.backoff_most_s, timing.breaker_s * 2 ** min(self.probes_failed, 30))


class Pace:
    """Slots for one endpoint, first come first served. For one event loop."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.level = Level(timing.first_in_flight, timing.max_in_flight)
        self.in_flight = 0
        self.begun = 0
        self.breaker = Breaker(timing)
        self._not_before = 0.0
        self._waiting: deque[asyncio.Future[Ticket]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        return self.level.limit

    async def enter(self) -> Ticket:
        """A slot, when the limit, the server's waits and the breaker allow one. Raises CircuitOpen."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ticket] = loop.create_future()
        self._waiting.append(future)
        self._wake()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(future.result(), Verdict.unused)
            raise

    def leave(self, ticket: Ticket, verdict: Verdict) -> None:
        """Gives the slot back and says what was learned with it."""
        now = asyncio.get_running_loop().time()
        used, self.in_flight = self.in_flight, self.in_flight - 1
        if verdict is Verdict.unused:
            self.breaker.probing = self.breaker.probing and not ticket.probe
        elif verdict in (Verdict.ok, Verdict.limited):
            self.breaker.close()
        else:
            self.breaker.fail(ticket, now)
        if verdict is Verdict.ok:
            self.level.held(ticket.round, used)
        elif verdict is Verdict.limited:
            self.level.refused(ticket.round, used)
        elif verdict is Verdict.overload:
            self.level.halve(ticket.round, used)
        self._wake()

    def hold(self, seconds: float) -> None:
        """No request leaves for so long (at most `wait_most_s`): the server asked for it."""
        until = asyncio.get_running_loop().time() + min(seconds, self._timing.wait_most_s)
        self._not_before = max(self._not_before, until)

    def backoff(self, failures: int) -> float:
        """Seconds before try number `failures` + 1: uniform in 0 … the doubled mean's double (full jitter)."""
        most = min(self._timing.backoff_most_s, self._timing.backoff_s * 2 ** min(failures, 30))
        return random.uniform(0, most)

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        breaker = self.breaker
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
            elif breaker.given_up and breaker.until is not None and now < breaker.until:
                self._waiting.popleft().set_exception(CircuitOpen())
            elif self.in_flight < self.limit and now >= self._not_before and breaker.may(now):
                probe = breaker.until is not None
                breaker.probing = breaker.probing or probe
                self.in_flight += 1
                self._waiting.popleft().set_result(Ticket(self.level.round, self.begun, probe))
                self.begun += 1
            else:
                break
        at = max(self._not_before, breaker.until or 0.0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and at > now:
            self._timer = loop.call_at(at, self._wake)
