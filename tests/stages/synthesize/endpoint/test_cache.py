"""Replies are kept once written, torn records are never read, writers share a folder."""

import asyncio
import os
from pathlib import Path

import pytest

from schemas.endpoint import EndpointConfig
from stages.synthesize.endpoint.cache import ReplyCache
from stages.synthesize.endpoint.money import Account
from stages.synthesize.endpoint.wire import Request, request_key

A, B = "aa" * 32, "bb" * 32


def reply(key: str, n: str, text: str = "x") -> dict[str, object]:
    return {"t": "reply", "n": n, "k": key, "text": text, "use": [3, 4, 0], "pico": 5}


def open_(folder: Path) -> tuple[ReplyCache, Account]:
    account = Account()
    return ReplyCache(folder, account.fold), account


def test_every_cut_of_the_log_reads_whole_records_only(tmp_path):
    cache, _ = open_(tmp_path / "a")
    cache.append(reply(A, "1", "erste"))
    cache.append(reply(B, "2", "zweite"))
    cache.close()
    (log,) = (tmp_path / "a").glob("*.log")
    data = log.read_bytes()
    end = data.index(b"\n") + 1
    for cut in range(len(data) + 1):
        log.write_bytes(data[:cut])
        again, account = open_(tmp_path / "a")
        assert (A in again, B in again) == (cut >= end, cut == len(data))
        assert account.tokens == 7 * ((cut >= end) + (cut == len(data)))
        again.close()


def test_a_flipped_bit_hides_its_record_only(tmp_path):
    cache, _ = open_(tmp_path)
    cache.append(reply(A, "1"))
    cache.append(reply(B, "2"))
    cache.close()
    (log,) = tmp_path.glob("*.log")
    data = bytearray(log.read_bytes())
    data[40] ^= 1
    log.write_bytes(data)
    again, _ = open_(tmp_path)
    assert A not in again and B in again and again.damaged == 1


def test_two_writers_see_each_other(tmp_path):
    one, account = open_(tmp_path)
    two, _ = open_(tmp_path)
    two.append(reply(A, "1", "two's"))
    assert A not in one
    one.refresh()
    assert one.get(A) == reply(A, "1", "two's") and account.replies == 1
    two.append(reply(B, "2"))
    one.refresh()
    one.refresh()
    assert B in one and account.replies == 2
    two.close()


def test_a_full_disk_takes_the_record_back(tmp_path, monkeypatch):
    cache, _ = open_(tmp_path)
    cache.append(reply(A, "1"))
    real = os.write

    def full(fd: int, data: bytes) -> int:
        real(fd, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="space"):
        cache.append(reply(B, "2"))
    monkeypatch.undo()
    cache.append(reply(B, "3", "now"))
    cache.close()
    again, account = open_(tmp_path)
    found = again.get(B)
    assert found is not None and found["text"] == "now" and again.damaged == 0 and account.replies == 2


def test_durable_shares_its_fsyncs(tmp_path, monkeypatch):
    cache, _ = open_(tmp_path)
    calls: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(fd), real(fd))[1])

    async def inside() -> None:
        async def one(n: int) -> None:
            cache.append(reply(f"{n:064x}", str(n)))
            await cache.durable()

        await asyncio.gather(*(one(n) for n in range(200)))

    asyncio.run(inside())
    assert 1 <= len(calls) <= 10


@pytest.mark.parametrize(
    ("more", "same"),
    [
        ({"base_url": "http://else/v1"}, True),
        ({"api_key_env": "OTHER"}, True),
        ({"timing": {"tries": 9}}, True),
        ({"prices": {"prompt": "3"}}, True),
        ({"model": "n"}, False),
        ({"temperature": 0.1}, False),
        ({"top_p": 0.5}, False),
        ({"seed": 1}, False),
        ({"max_tokens": 7}, False),
    ],
)
def test_the_key_is_of_what_decides_the_reply(more, same):
    request = Request([{"role": "user", "content": "hi"}])
    plain = request_key(request, EndpointConfig(model="m"))
    assert (request_key(request, EndpointConfig(**{"model": "m", **more})) == plain) is same
