"""How fast: the limit finds the server's, the circuit opens and heals, waits are read from headers."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from schemas.endpoint import Timing
from stages.synthesize.endpoint.level import Level
from stages.synthesize.endpoint.pace import Pace, Verdict
from stages.synthesize.endpoint.quota import asked_wait, quota_wait
from stages.synthesize.endpoint.wire import FailureReason, Reply
from tests.stages.synthesize.endpoint.conftest import settings
from tests.stages.synthesize.endpoint.server import Do, Seen, Server, completion, echo, error


class Limited:
    """An endpoint that works on k requests at a time, 20 ms each, and refuses above; no wire between."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.now = self.refused = self.served = 0
        self.mean = 0.0

    async def work(self, pace: Pace, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            ticket = await pace.enter()
            if self.now >= self.k:
                self.refused += 1
                pace.leave(ticket, Verdict.limited)
                await asyncio.sleep(pace.backoff(0))
                continue
            self.now += 1
            await asyncio.sleep(random.uniform(0.01, 0.03))
            self.now -= 1
            self.served += 1
            pace.leave(ticket, Verdict.ok)

    async def run(self, seconds: float) -> None:
        pace = Pace(Timing(backoff_s=0.02, max_in_flight=256))
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        workers = [asyncio.create_task(self.work(pace, until)) for _ in range(3 * self.k)]
        await asyncio.sleep(seconds / 4)
        start, served, refused = loop.time(), self.served, self.refused
        await asyncio.sleep(seconds / 2)
        self.mean = (self.served - served) * 0.02 / (loop.time() - start)
        self.refused_share = (self.refused - refused) / (self.served - served)
        await asyncio.gather(*workers)


@pytest.mark.parametrize("k", [6, 24])
def test_the_limit_settles_near_the_servers(k):
    endpoint = Limited(k)
    asyncio.run(endpoint.run(2.0))
    assert endpoint.mean >= 0.6 * k, (endpoint.mean, endpoint.refused_share)
    assert endpoint.refused_share <= 0.08, (endpoint.mean, endpoint.refused_share)


def test_the_limit_grows_to_the_allowed_where_nothing_hinders(ask):
    with Server(lambda s, r: Do(body=completion("x"), delay=0.02)) as server:
        _, endpoint = ask(settings(server.url, {"max_in_flight": 32}), *(f"q{i}" for i in range(200)))
    assert endpoint.pace.limit == 32 and 4 < server.most <= 32


def test_what_a_round_did_not_refuse_is_the_level():
    async def inside() -> tuple[float, float]:
        pace = Pace(Timing(first_in_flight=16, max_in_flight=64))
        tickets = [await pace.enter() for _ in range(16)]
        for i, ticket in enumerate(tickets):
            pace.leave(ticket, Verdict.limited if i < 6 else Verdict.ok)
        before = pace.limit
        pace.leave(await pace.enter(), Verdict.overload)
        return before, pace.limit

    assert asyncio.run(inside()) == (10, 1)  # a timeout halves what was in flight: one


def drive(level: Level, k: int, rounds: int) -> int:
    """Rounds of as many requests as the level allows, of which k are taken. Refusals."""
    refused = 0
    for _ in range(rounds):
        sent, round = level.limit, level.round
        for _ in range(sent - k):  # a refusal is faster than a reply
            level.refused(round, sent)
        for _ in range(min(k, sent)):
            level.held(round, sent)
        refused += max(0, sent - k)
    return refused


def test_a_level_that_was_refused_is_tried_rarely_and_a_faster_server_is_followed():
    level = Level(8, 256)
    assert drive(level, 40, 30) <= 30  # of 1,200, one overshoot of 24 among them
    assert 36 <= level.limit <= 44
    assert drive(level, 40, 200) <= 80  # of 8,000
    drive(level, 160, 120)
    assert level.limit >= 144


@pytest.mark.parametrize("seed", range(3))
def test_a_hard_limit_over_http_refuses_few(ask, seed):
    rng = random.Random(seed)

    def script(server: Server, seen: Seen) -> Do:
        full = server.in_flight > 8
        return error(429, "busy") if full else Do(body=completion("x"), delay=rng.uniform(0.02, 0.06))

    with Server(script) as server:
        outcomes, endpoint = ask(settings(server.url, {"backoff_s": 0.05}), *(f"q{i}" for i in range(200)))
    assert all(isinstance(o, Reply) for o in outcomes)
    assert endpoint.counts.limited <= 30, endpoint.counts  # 10 on an idle machine; 40 to 56 with AIMD


def test_what_left_since_counts_against_the_quota():
    headers = {"x-ratelimit-remaining-requests": "8", "x-ratelimit-reset-requests": "5"}
    assert quota_wait(headers, 1, 7) == 0.0
    assert quota_wait(headers, 1, 8) == 5.0


def test_a_dead_endpoint_opens_the_circuit_and_the_rest_costs_nothing(ask):
    with Server(lambda s, r: error(500, "down")) as server:
        config = settings(server.url, {"breaker_after": 5, "breaker_probes": 3, "tries": 50, "breaker_s": 0.02})
        outcomes, endpoint = ask(config, *(f"q{i}" for i in range(100)))
    assert {o.reason for o in outcomes} == {FailureReason.circuit_open}
    assert len(server.seen) <= 20 and not endpoint.budget.account.open


def test_an_endpoint_that_comes_back_is_used_again(ask):
    start = time.monotonic()

    def script(server: Server, seen: Seen) -> Do:
        return error(500, "down") if time.monotonic() - start < 0.5 else echo(server, seen)

    with Server(script) as server:
        timing = {"breaker_after": 5, "breaker_probes": 50, "tries": 60}
        outcomes, _ = ask(settings(server.url, timing), *(f"q{i}" for i in range(40)))
    assert all(isinstance(o, Reply) for o in outcomes)


def test_nothing_listens(ask):
    outcomes, endpoint = ask(settings("http://127.0.0.1:9/v1", {"tries": 2, "breaker_after": 50}), "a")
    assert outcomes[0].reason == FailureReason.unreachable and not endpoint.budget.account.open


def test_a_cancelled_waiter_gives_its_slot_back():
    async def inside() -> int:
        pace = Pace(Timing(first_in_flight=1, max_in_flight=1))
        ticket = await pace.enter()
        waiter = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        pace.leave(ticket, Verdict.ok)  # grants to the waiter, which is cancelled before it runs
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        return pace.in_flight

    assert asyncio.run(inside()) == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "3", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_asked_wait(headers, seconds):
    assert asked_wait(headers) == seconds


@pytest.mark.parametrize(
    ("what", "left", "reset", "seconds"),
    [
        ("requests", "0", "1m30.5s", 90.5),
        ("requests", "0", "17ms", 0.017),
        ("requests", "0", "5", 5.0),
        ("requests", "1", "5", 0.0),
        ("tokens", "99", "6m0s", 360.0),
        ("tokens", "100", "6m0s", 0.0),
        ("tokens", "0", "whenever", 0.0),
    ],
)
def test_quota_wait(what, left, reset, seconds):
    headers = {f"x-ratelimit-remaining-{what}": left, f"x-ratelimit-reset-{what}": reset}
    assert quota_wait(headers, 100) == pytest.approx(seconds)


def test_quota_wait_reads_a_date():
    later = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": later}
    assert 28 < quota_wait(headers, 1) <= 30
