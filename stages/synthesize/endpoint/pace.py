"""How fast an endpoint is asked: an adaptive limit, waits the server asks for, backoff, a circuit breaker.

- Limit of requests in flight by AIMD (Chiu and Jain 1989; TCP, RFC 5681): +1 a success until the first overload (slow
  start), then half; from there fast again up to 0.9 of where overload began (CUBIC's remembered maximum, RFC 9438), and
  beyond it +1/5 a round. One halving a round, as TCP; growth only while the limit is what holds us back (Netflix
  concurrency-limits, AIMDLimit). Overload: 429, 503, 529, timeouts.
- Retry-After (RFC 9110 10.2.3: seconds or a date), retry-after-ms, x-ratelimit-remaining-*/reset-* hold all requests.
- Backoff with full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015).
- Breaker: opened by failures in a row, then one probe at a time (Nygard, Release It!, 2007).
"""

import asyncio
import math
import random
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from schemas.endpoint import Timing

_KNEE = 0.9
_SLOW = 0.2


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
        self.limit = float(min(timing.first_in_flight, timing.max_in_flight))
        self.in_flight = 0
        self.breaker = Breaker(timing)
        self._knee = math.inf
        self._round = 0
        self._not_before = 0.0
        self._waiting: deque[asyncio.Future[Ticket]] = deque()
        self._timer: asyncio.TimerHandle | None = None

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
            self._grow(used)
        elif verdict in (Verdict.limited, Verdict.overload):
            self._halve(ticket, used)
        self._wake()

    def hold(self, seconds: float) -> None:
        """No request leaves for so long (at most `wait_most_s`): the server asked for it."""
        until = asyncio.get_running_loop().time() + min(seconds, self._timing.wait_most_s)
        self._not_before = max(self._not_before, until)

    def backoff(self, failures: int) -> float:
        """Seconds before try number `failures` + 1: uniform in 0 … the doubled mean's double (full jitter)."""
        most = min(self._timing.backoff_most_s, self._timing.backoff_s * 2 ** min(failures, 30))
        return random.uniform(0, most)

    def _grow(self, used: int) -> None:
        if used * 2 >= self.limit:
            self.limit += 1 if self.limit < self._knee else _SLOW / self.limit
            self.limit = min(self.limit, float(self._timing.max_in_flight))

    def _halve(self, ticket: Ticket, used: int) -> None:
        if ticket.round == self._round:
            at = min(self.limit, used)
            self._round += 1
            self._knee = max(1.0, at * _KNEE)
            self.limit = max(1.0, at / 2)

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        breaker = self.breaker
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
            elif breaker.given_up and breaker.until is not None and now < breaker.until:
                self._waiting.popleft().set_exception(CircuitOpen())
            elif self.in_flight < int(self.limit) and now >= self._not_before and breaker.may(now):
                probe = breaker.until is not None
                breaker.probing = breaker.probing or probe
                self.in_flight += 1
                self._waiting.popleft().set_result(Ticket(self._round, probe))
            else:
                break
        at = max(self._not_before, breaker.until or 0.0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and at > now:
            self._timer = loop.call_at(at, self._wake)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a refusal asks for: retry-after-ms, or Retry-After in seconds or as a date. None: for none."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or not told:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def quota_wait(headers: Mapping[str, str], need: int) -> float:
    """Seconds until the x-ratelimit quotas allow a request of `need` tokens; 0: they do now."""
    wait = 0.0
    for what, least in (("requests", 1), ("tokens", need)):
        remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"))
        if remaining is not None and remaining < least:
            wait = max(wait, _duration(headers.get(f"x-ratelimit-reset-{what}")) or 0.0)
    return wait


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _duration(text: str | None) -> float | None:
    """`6m0s`, `1.5s`, `20ms` (OpenAI); seconds, a Unix time or an ISO time (others)."""
    number = _number(text)
    if number is not None:
        return number if number < 10**9 else max(0.0, (number / 1000 if number > 10**12 else number) - time.time())
    if not text:
        return None
    if re.fullmatch(r"(\d{1,9}(\.\d{1,9})?(ms|h|m|s))+", text.strip()):
        return sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text))
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
