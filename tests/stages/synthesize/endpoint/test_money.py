"""The cap holds, a reply is paid once, and a resumed run knows what was spent."""

import asyncio
from decimal import Decimal

import pytest
from pydantic import ValidationError

from schemas.endpoint import EndpointConfig, Prices
from schemas.errors import Stopped
from stages.synthesize.endpoint.client import Endpoint
from stages.synthesize.endpoint.many import Asker, ask_all
from stages.synthesize.endpoint.money import Budget, Refusal, Reservation
from stages.synthesize.endpoint.wire import Answer, Failure, FailureReason, Reply, Tokens
from tests.stages.synthesize.endpoint.conftest import KEY, say, settings
from tests.stages.synthesize.endpoint.server import COMPLETION, PROMPT, Do, Seen, Server, completion

EACH = PROMPT + COMPLETION


def slow(server: Server, seen: Seen) -> Do:
    return Do(body=completion("x"), delay=0.02)


def test_a_hit_costs_nothing_and_says_what_it_would_have(ask):
    with Server() as server:
        config = settings(server.url, prices={"prompt": "1"})
        (paid,), _ = ask(config, "a")
        (hit,), endpoint = ask(config, "a")
    assert len(server.seen) == 1 and hit.cached and not paid.cached
    assert hit.cost == paid.cost == endpoint.budget.spent == Decimal("0.00002")


def test_the_same_request_at_the_same_time_is_sent_once(ask):
    with Server(slow) as server:
        outcomes, _ = ask(settings(server.url), *["a"] * 20)
    assert len(server.seen) == 1 and sum(o.cached for o in outcomes) == 19


def test_the_token_cap_stops_cleanly_and_a_higher_one_goes_on(ask):
    texts = [f"q{i}" for i in range(60)]
    with Server(slow) as server:
        first, endpoint = ask(settings(server.url, caps={"tokens": 1000}), *texts)
        kept = sum(isinstance(o, Reply) for o in first)
        spent = endpoint.budget.account.tokens
        assert spent == kept * EACH == len(server.delivered) * EACH <= 1000
        assert spent > 1000 - 2 * 60  # what is left is less than two reservations
        rest = [o for o in first if isinstance(o, Failure)]
        assert rest and {o.reason for o in rest} == {FailureReason.over_cap}
        again, endpoint = ask(settings(server.url, caps={"tokens": 10**6}), *texts)
        assert all(isinstance(o, Reply) for o in again)
        assert len(server.seen) == 60 and endpoint.budget.account.tokens == 60 * EACH


def test_a_server_that_takes_more_than_reserved_overshoots_by_what_is_in_flight(ask):
    big = completion("x").replace(b'"completion_tokens": 7', b'"completion_tokens": 500')
    with Server(lambda s, r: Do(body=big, delay=0.02)) as server:
        config = settings(server.url, {"max_in_flight": 4}, caps={"tokens": 1000})
        _, endpoint = ask(config, *(f"q{i}" for i in range(40)))
    assert 1000 < endpoint.budget.account.tokens == len(server.seen) * 520 <= 1000 + 4 * 520


def test_the_money_cap_is_exact_to_the_last_request(tmp_path):
    config = EndpointConfig(model="m", prices=Prices(completion=Decimal("0.1")), caps={"money": "0.000003"})
    budget = Budget(config, tmp_path)
    made = []
    for n in range(3):  # each 10 completion tokens: 0.000001
        made.append(budget.reserve(f"{n:064x}", Tokens(0, 10)))
    assert all(isinstance(m, Reservation) for m in made)
    assert budget.reserve("ff" * 32, Tokens(0, 1)) is Refusal.wait
    budget.keep(made[0], Answer("x", "stop", False, Tokens(0, 9)))
    assert isinstance(budget.reserve("ff" * 32, Tokens(0, 1)), Reservation)
    assert budget.spent == Decimal("0.0000009")


def test_processes_share_one_cap_and_an_open_ask_counts(tmp_path):
    config = EndpointConfig(model="m", caps={"tokens": 100})
    one, two = Budget(config, tmp_path), Budget(config, tmp_path)
    assert isinstance(one.reserve("aa" * 32, Tokens(50, 20)), Reservation)
    assert two.reserve("bb" * 32, Tokens(30, 10)) is Refusal.over_cap
    made = two.reserve("bb" * 32, Tokens(20, 10))
    assert isinstance(made, Reservation)
    two.keep(made, Answer("x", "stop", False, Tokens(20, 5)))
    assert one.reserve("bb" * 32, Tokens(20, 10)) is Refusal.paid_already
    assert one.account.tokens == 25 and one.account.open_tokens == 70


def test_many_floats_do_not_drift():
    prices = Prices(prompt=Decimal("0.075"), completion=Decimal("0.3"), cached=Decimal("0.0375"))
    assert sum(prices.pico(1, 1, 1) for _ in range(1000)) == 1000 * (37_500 + 300_000)


@pytest.mark.parametrize(
    "bad",
    [
        {"caps": {"money": 1}},
        {"prices": {"prompt": "0.0000001"}},
        {"prices": {"prompt": -1}},
        {"base_url": "ftp://x"},
        {"base_url": "https://user:pw@host/v1"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant(bad):
    with pytest.raises(ValidationError):
        EndpointConfig(model="m", **bad)


def test_cancellation_keeps_what_was_sent(tmp_path):
    with Server(lambda s, r: Do(body=completion("x"), delay=0.3)) as server:
        config = settings(server.url, {"first_in_flight": 4})

        async def inside() -> int:
            async with Endpoint(config, tmp_path, {"TEST_KEY": KEY}) as endpoint:

                async def work() -> None:
                    async for _ in ask_all([say(f"q{i}") for i in range(50)], endpoint):
                        pass

                task = asyncio.create_task(work())
                await asyncio.sleep(0.15)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return len(endpoint.budget.cache)

        assert asyncio.run(inside()) == 4 == len(server.delivered) == len(server.seen)


def test_an_error_for_all_keeps_what_was_sent(tmp_path, ask):
    def script(server: Server, seen: Seen) -> Do:
        return Do(401, b"{}") if seen.text == "q3" else Do(body=completion("x"), delay=0.2)

    with Server(script) as server:
        with pytest.raises(Exception, match="TEST_KEY"):
            ask(settings(server.url, {"first_in_flight": 4}), *(f"q{i}" for i in range(50)))
        budget = Budget(settings(server.url), tmp_path / "replies")
        assert len(budget.cache) == 3 == len(server.delivered) and not budget.account.open


def test_requests_are_drawn_as_they_are_needed(tmp_path):
    drawn = 0

    def endless():
        nonlocal drawn
        for i in range(10_000):
            drawn += 1
            yield say(f"q{i}")

    with Server() as server:
        config = settings(server.url, {"max_in_flight": 8})

        async def inside() -> int:
            async with Endpoint(config, tmp_path, {"TEST_KEY": KEY}) as endpoint:
                outcomes = ask_all(endless(), endpoint)
                for _ in range(20):
                    await anext(outcomes)
                await outcomes.aclose()
            return drawn

        assert asyncio.run(inside()) <= 20 + 2 * 8


def test_a_stage_asks_batch_after_batch(tmp_path):
    with Server() as server:
        asker = Asker(settings(server.url), tmp_path, {"TEST_KEY": KEY}).open()
        one = asker.ask_all([say("a"), say("b")])
        two = asker.ask_all(say(t) for t in ("b", "c"))
        asker.close()
    assert [o.text for o in (*one, *two)] == ["re: a", "re: b", "re: b", "re: c"]
    assert [o.cached for o in two] == [True, False]


def test_a_caller_that_stops_early_loses_nothing_that_was_sent(tmp_path):
    def until_stopped():
        for i in range(50):
            if i == 10:
                raise Stopped("enough")
            yield say(f"q{i}")

    with Server(lambda s, r: Do(body=completion("x"), delay=0.1)) as server:
        asker = Asker(settings(server.url, {"max_in_flight": 4}), tmp_path, {"TEST_KEY": KEY}).open()
        with pytest.raises(Stopped):
            asker.ask_all(until_stopped())
        assert len(asker.endpoint.budget.cache) == len(server.seen) == len(server.delivered) >= 4
        assert not asker.endpoint.budget.account.open
        assert asker.ask_all([say("q0")])[0].cached  # and it can be used again
        asker.close()


def test_the_key_is_in_no_file(tmp_path, ask):
    with Server() as server:
        ask(settings(server.url), "a")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 2 and all(KEY.encode() not in p.read_bytes() for p in files)
