"""The endpoint benchmark: its server, its clients, and what it makes of a server's log."""

import asyncio
import statistics

import pytest

from bench import synthesize


def test_waits_are_log_normal_and_the_same_for_both_clients() -> None:
    waits = [synthesize.delay(synthesize.prompt(n)) for n in range(2000)]
    assert statistics.median(waits) == pytest.approx(2.0, rel=0.05)
    assert synthesize.delay(synthesize.prompt(7)) == waits[7]


def test_a_log_of_a_full_server_is_its_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesize, "delay", lambda text: 2.0)
    n = 2560
    log = [(i / 128, 1) for i in range(n)] + [(i / 128 + 2, -1) for i in range(n)]
    told = synthesize.shares(sorted(log), n)
    assert told["most in flight"] in (256, 257) and told["s until 251 in flight"] == pytest.approx(250 / 128)
    assert told["share of ceiling, steady"] == pytest.approx(1.0, abs=0.01)
    assert told["share of ceiling, ramp and tail included"] == pytest.approx(20 / 22, abs=0.01)


@pytest.mark.parametrize("name", list(synthesize.CLIENTS))
def test_a_client_gets_every_reply(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesize, "MEDIAN", 0.01)
    seen: list[tuple[float, int]] = []

    async def inside() -> int:
        make = asyncio.get_running_loop().create_server(lambda: synthesize.Connection(seen), "127.0.0.1", 0)
        async with await make as server:
            return await synthesize.CLIENTS[name](f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", 20)

    assert asyncio.run(inside()) == 20 and len(seen) == 40
