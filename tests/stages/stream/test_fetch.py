"""Shards over the network: what comes, and what hostile servers do to a fetch."""

import gzip
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.index_folder import index_folder
from schemas.errors import WrongData, WrongRequest
from schemas.stream import SourceConfig, StreamConfig
from stages.stream.batches import BatchReader
from stages.stream.source import Source, open_source
from tests.stages.stream.fetching import DATA, PATH, RANGE, WRONG, facts, fetched, fetcher, refusal
from tests.stages.stream.servers import Answer, Hostile
from tests.stages.stream.tars import img2dataset_members, tar_of

pytestmark = pytest.mark.usefixtures("small_ranges")


# ---------------------------------------------------------------------- what comes


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("size", [0, 1, RANGE - 1, RANGE, RANGE + 1, len(DATA)])
def test_every_size_in_ranges(web: tuple[Hostile, str], size: int, check: bool) -> None:
    state, url = web
    state.objects[PATH] = DATA[:size]
    assert fetched(fetcher(url, check), facts(DATA[:size])) == DATA[:size]
    assert sorted(state.starts(PATH)) == list(range(0, size, RANGE))


def test_connections_are_kept(web: tuple[Hostile, str]) -> None:
    state, url = web
    fetched(fetcher(url))
    fetched(fetcher(url))
    assert len(state.requests) == 20 and len(state.clients) <= 4


@pytest.mark.parametrize("sized", [True, False])
def test_a_server_without_ranges_is_asked_once(web: tuple[Hostile, str], sized: bool) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(ranges=False, sized=sized)
    assert fetched(fetcher(url)) == DATA
    assert state.starts(PATH) == [0]


def test_no_packed_answer_is_asked_for_and_one_is_unpacked(web: tuple[Hostile, str]) -> None:
    state, url = web
    packed = Answer(data=gzip.compress(DATA), ranges=False, headers={"Content-Encoding": "gzip"})
    state.scripts[PATH] = lambda _n, _r: packed
    assert fetched(fetcher(url)) == DATA
    assert state.headers[0]["Accept-Encoding"] == "identity"


def test_any_fsspec_filesystem_will_do() -> None:
    fs = MemoryFileSystem()
    fs.pipe_file("/mill" + PATH, DATA)
    try:
        assert fetched(fetcher("memory://mill")) == DATA
        fs.pipe_file("/mill" + PATH, DATA[:-1])
        assert f"found {len(DATA) - 1} bytes" in refusal(fetcher("memory://mill"))
        fs.rm_file("/mill" + PATH)
        assert "missing" in refusal(fetcher("memory://mill"))
    finally:
        fs.store.clear()


# ---------------------------------------------------------------------- what goes wrong


def test_a_cut_range_goes_on_where_it_was_cut(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda n, r: Answer(stop_after=1000 if r.start == 2 * RANGE else None)
    assert fetched(fetcher(url)) == DATA
    assert sorted(state.starts(PATH)) == sorted([*range(0, len(DATA), RANGE), 2 * RANGE + 1000])


def test_a_cut_answer_without_ranges_is_read_anew(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda n, _r: Answer(ranges=False, stop_after=(300_000, 500_000, None)[n])
    assert fetched(fetcher(url)) == DATA
    assert len(state.requests) == 3


def test_a_range_that_comes_whole_is_cut_out(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, r: Answer(ranges=r.start != 3 * RANGE)
    assert fetched(fetcher(url)) == DATA


def test_a_stall_is_given_up_and_resumed(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, r: Answer(stop_after=1000 if r.start == RANGE else None, then="stall")
    began = time.monotonic()
    assert fetched(fetcher(url, stall_seconds=0.3)) == DATA
    assert 0.3 <= time.monotonic() - began < 3
    assert RANGE + 1000 in state.starts(PATH)


@pytest.mark.parametrize("where", ["before the first byte", "in the middle"])
def test_a_server_that_always_stalls(web: tuple[Hostile, str], where: str) -> None:
    state, url = web
    first = 0 if where == "before the first byte" else 1000
    state.scripts[PATH] = lambda n, _r: Answer(stop_after=0 if n else first, then="stall")
    began = time.monotonic()
    said = refusal(fetcher(url, stall_seconds=0.2, tries=3))
    assert "in 3 tries: no byte for 0.2 s" in said and "remote.stall_seconds" in said
    assert 0.6 <= time.monotonic() - began < 3
    assert [at for at in state.starts(PATH) if at < RANGE] == [0, first, first]


def test_a_server_that_never_answers() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as quiet:
        url = f"http://127.0.0.1:{quiet.getsockname()[1]}"
        assert "in 2 tries: no byte for 0.2 s" in refusal(fetcher(url, stall_seconds=0.2, tries=2))


def test_slow_but_steady_is_not_given_up(web: tuple[Hostile, str]) -> None:
    state, url = web
    data = state.objects[PATH] = DATA[:RANGE]
    state.scripts[PATH] = lambda _n, _r: Answer(piece=RANGE // 24, pause=0.05)
    began = time.monotonic()
    assert fetched(fetcher(url, stall_seconds=0.3, tries=1), facts(data)) == data
    assert time.monotonic() - began > 4 * 0.3 and len(state.requests) == 1


def test_one_range_may_wait_while_another_moves(web: tuple[Hostile, str]) -> None:
    state, url = web
    data = state.objects[PATH] = DATA[: 2 * RANGE]
    state.scripts[PATH] = lambda _n, r: Answer(piece=RANGE // 20, pause=0.05, delay=0.7 if r.start == RANGE else 0)
    assert fetched(fetcher(url, stall_seconds=0.35, tries=1), facts(data)) == data
    assert len(state.requests) == 2


def test_an_overloaded_server_is_asked_again(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda n, _r: Answer(status=(503, 500, 429)[n]) if n < 3 else Answer()
    assert fetched(fetcher(url)) == DATA
    state.scripts[PATH] = lambda _n, _r: Answer(status=503)
    assert "in 2 tries: HTTP status 503" in refusal(fetcher(url, tries=2))


def test_another_range_than_the_one_asked_for(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(headers={"Content-Range": f"bytes 7-9/{len(DATA)}"})
    assert "Content-Range" in refusal(fetcher(url, tries=2))


def test_nobody_listens() -> None:
    assert "could not be read in 2 tries" in refusal(fetcher("http://127.0.0.1:9", tries=2))


@pytest.mark.parametrize("status", [404, 410])
def test_a_missing_shard_is_not_asked_for_again(web: tuple[Hostile, str], status: int) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(status=status)
    said = refusal(fetcher(url))
    assert "is missing" in said and len(state.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_argued_with(web: tuple[Hostile, str], status: int) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(status=status)
    assert "credentials" in refusal(fetcher(url), WrongRequest) and len(state.requests) == 1


def test_wrong_bytes_are_fetched_anew(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda n, _r: Answer(data=WRONG if n < 10 else None)
    assert fetched(fetcher(url)) == DATA and len(state.requests) == 20


def test_lasting_wrong_bytes_are_named(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.objects[PATH] = WRONG
    said = refusal(fetcher(url, tries=2))
    assert facts().sha256 in said and facts(WRONG).sha256 in said and len(state.requests) == 20
    assert fetched(fetcher(url, check=False)) == WRONG


@pytest.mark.parametrize("data", [b"", DATA[:10], DATA[:-1], DATA + b"x", DATA * 2])
@pytest.mark.parametrize("answer", [Answer(), Answer(ranges=False)])
def test_another_size_is_named(web: tuple[Hostile, str], data: bytes, answer: Answer) -> None:
    state, url = web
    state.objects[PATH], state.scripts[PATH] = data, lambda _n, _r: answer
    said = refusal(fetcher(url, check=False, tries=2))
    assert f"expected {len(DATA)} bytes" in said and f"found {len(data)} bytes" in said
    assert len(state.requests) == 2


def test_a_longer_answer_of_unsaid_length(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.objects[PATH], state.scripts[PATH] = DATA + b"x", lambda _n, _r: Answer(ranges=False, sized=False)
    assert "another size" in refusal(fetcher(url, check=False))


def test_an_index_is_brought_as_shards_are(web: tuple[Hostile, str], tmp_path: Path) -> None:
    """One that stalls is taken up again; one that always does is named."""
    state, url = web
    source = indexed_folder(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            state.objects[f"/{path.relative_to(tmp_path)}"] = path.read_bytes()
    index = f"/.pairmill/{source.facts[0].index.path}"
    state.scripts[index] = lambda n, _r: Answer(stop_after=100, then="stall") if n == 0 else Answer()
    reader = {"sources": [{"path": url}], "remote": {"stall_seconds": 0.3, "tries": 2}}
    assert sum(len(b) for b in BatchReader(StreamConfig.model_validate(reader))) == 5
    state.scripts[index] = lambda _n, _r: Answer(stop_after=0, then="stall")
    with pytest.raises(WrongData, match=source.facts[0].index.path):
        list(BatchReader(StreamConfig.model_validate(reader)))


def test_a_damaged_cached_index_is_brought_anew(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    source = indexed_folder(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            state.objects[f"/{path.relative_to(tmp_path)}"] = path.read_bytes()
    cache = tmp_path / "cache"
    cache.mkdir()
    index = source.facts[0].index
    (cache / index.sha256).write_bytes(b"x" * index.bytes)
    reader = StreamConfig.model_validate({"sources": [{"path": url}], "remote": {"cache": str(cache)}, "check": False})
    assert sum(len(b) for b in BatchReader(reader)) == 5


def indexed_folder(folder: Path) -> Source:
    (folder / "00000.tar").write_bytes(tar_of(img2dataset_members(0, 5)))
    index_folder(str(folder))
    return open_source(SourceConfig(path=str(folder)))


class Stalling(MemoryFileSystem):
    """Another store, whose `cat_file` comes to a halt."""

    protocol = "stalling"
    root_marker = "/"
    calls = 0
    halt = threading.Event()
    good_after = 1

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("stalling://", "memory://"))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        Stalling.calls += 1
        if Stalling.calls <= Stalling.good_after:
            Stalling.halt.wait(60)
        return super().cat_file(path, start=start, end=end, **kwargs)


@pytest.mark.parametrize("lasting", [False, True])
def test_a_blocking_store_that_stalls(monkeypatch: pytest.MonkeyPatch, lasting: bool) -> None:
    fsspec.register_implementation("stalling", Stalling, clobber=True)
    monkeypatch.setattr(Stalling, "calls", 0)
    monkeypatch.setattr(Stalling, "good_after", 99 if lasting else 1)
    monkeypatch.setattr(Stalling, "halt", threading.Event())
    MemoryFileSystem().pipe_file("/mill" + PATH, DATA)
    try:
        subject = fetcher("stalling://mill", stall_seconds=0.2, tries=2)
        if lasting:
            assert "in 2 tries: no byte for 0.2 s" in refusal(subject)
        else:
            assert fetched(subject) == DATA
    finally:
        Stalling.halt.set()
        MemoryFileSystem.store.clear()
