"""Shards over the network: what hostile servers, full disks and forks do to a fetch."""

import fcntl
import gzip
import hashlib
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from schemas.errors import WrongData, WrongRequest
from schemas.stream import RemoteConfig
from stages.store import Store
from stages.stream import transfer
from stages.stream.cache import ShardCache
from stages.stream.fetch import Fetcher
from stages.stream.source import ShardFacts
from tests.stages.stream.servers import Answer, Hostile, fetch_for_ever, fetch_for_parent, held_bytes, serving

ROOT = Path(__file__).resolve().parents[3]
RANGE = 64 << 10
DATA = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(20_000))  # 640 kB: ten ranges
PATH = "/shards/train-000000.tar"
KEY = f"/mill{PATH}"
"""What an S3 client asks for."""


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(transfer, "_FIRST_WAIT", 0.01)


@pytest.fixture
def web() -> Iterator[tuple[Hostile, str]]:
    with serving() as (state, url):
        state.objects[PATH] = DATA
        yield state, url


def facts(data: bytes = DATA, path: str = PATH) -> ShardFacts:
    return ShardFacts(path.lstrip("/"), len(data), hashlib.sha256(data).hexdigest(), 1, "", "")


def fetcher(url: str, check: bool = True, **config: Any) -> Fetcher:
    return Fetcher(Store(url), RemoteConfig(**{"stall_seconds": 20, **config}), check)


def fetched(fetcher: Fetcher, wanted: ShardFacts | None = None) -> bytes:
    fd = fetcher.fetch(wanted or facts())
    try:
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        return os.pread(fd, os.fstat(fd).st_size + 1, 0)
    finally:
        os.close(fd)


def refusal(fetcher: Fetcher, kind: type[WrongData] | type[WrongRequest] = WrongData) -> str:
    with pytest.raises(kind) as error:
        fetcher.fetch(facts())
    said = str(error.value)
    assert "\n" not in said and PATH.lstrip("/") in said
    return said


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


WRONG = DATA[:200_000] + bytes([DATA[200_000] ^ 1]) + DATA[200_001:]


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


# ---------------------------------------------------------------------- files


def test_unnamed_files_leave_nothing(web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state, url = web
    seen: list[Path] = []

    def look(_n: int, _r: object) -> Answer:
        seen.extend(tmp_path.iterdir())
        return Answer()

    state.scripts[PATH] = look
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    subject = fetcher(url)
    fetched(subject)
    state.objects.clear()
    refusal(subject)
    assert not seen and not list(tmp_path.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 12  # kept connections, the event loop


def test_a_full_disk_without_a_cache(web: tuple[Hostile, str], monkeypatch: pytest.MonkeyPatch) -> None:
    full_after(monkeypatch, 100_000)
    said = refusal(fetcher(web[1]))
    assert "no space left in " in said and "TMPDIR" in said


def full_after(monkeypatch: pytest.MonkeyPatch, room: int, folder: Path | None = None) -> None:
    """A disk on which `room` bytes more can be written, plus what is removed from `folder`."""
    write, lock = os.pwrite, threading.Lock()
    state = {"written": 0}

    def used() -> int:
        return 0 if folder is None else sum(p.stat().st_size for p in folder.iterdir() if len(p.name) == 64)

    before = used()

    def limited(fd: int, data: Any, offset: int) -> int:
        with lock:
            left = room + before - used() - state["written"]
            if left <= 0:
                raise OSError(28, "No space left on device")
            count = write(fd, data[:left], offset)
            state["written"] += count
        return count

    monkeypatch.setattr(os, "pwrite", limited)


def test_a_full_disk_under_the_cache_is_cleared_of_what_nobody_reads(
    web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = web
    subject = fetcher(url, cache=str(tmp_path))
    others = [facts(bytes([n]) * 400_000, f"/{n}.tar") for n in range(2)]
    for n, other in enumerate(others):
        state.objects[f"/{n}.tar"] = bytes([n]) * 400_000
        fetched(subject, other)
    full_after(monkeypatch, 300_000, tmp_path)
    assert fetched(subject) == DATA
    assert {p.name for p in tmp_path.iterdir()} == {".lock", others[1].sha256, facts().sha256}


def test_a_full_disk_under_the_cache_that_all_is_read_from(
    web: tuple[Hostile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = web
    subject, other = fetcher(url, cache=str(tmp_path)), facts(b"x" * 400_000, "/other.tar")
    state.objects["/other.tar"] = b"x" * 400_000
    fd = subject.fetch(other)
    full_after(monkeypatch, 300_000, tmp_path)
    said = refusal(subject)
    assert f"no space left in cache {tmp_path}" in said and "remote.cache_bytes" in said
    assert {p.name for p in tmp_path.iterdir()} == {".lock", other.sha256}
    monkeypatch.undo()
    os.close(fd)


def test_a_really_full_disk(web: tuple[Hostile, str], small_disk: Path) -> None:
    state, url = web
    subject, other = fetcher(url, cache=str(small_disk)), facts(DATA[::-1], "/other.tar")
    state.objects["/other.tar"] = DATA[::-1]
    fd = subject.fetch(other)
    assert "no space left in cache" in refusal(subject)
    os.close(fd)
    assert fetched(subject) == DATA
    assert {p.name for p in small_disk.iterdir()} == {".lock", facts().sha256}


# ---------------------------------------------------------------------- cache


def test_a_cached_shard_is_not_asked_for_again(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    for _ in range(2):
        assert fetched(fetcher(url, cache=str(tmp_path))) == DATA
    assert len(state.requests) == 10
    state.objects[PATH] = WRONG
    assert fetched(fetcher(url, cache=str(tmp_path)), facts(WRONG)) == WRONG  # a changed shard is another file
    assert {p.name for p in tmp_path.iterdir()} == {".lock", facts().sha256, facts(WRONG).sha256}


@pytest.mark.parametrize("damage", [WRONG, DATA[:-1], b""])
def test_a_damaged_cached_shard_is_fetched_anew(web: tuple[Hostile, str], tmp_path: Path, damage: bytes) -> None:
    state, url = web
    (tmp_path / facts().sha256).write_bytes(damage)
    assert fetched(fetcher(url, cache=str(tmp_path))) == DATA
    assert (tmp_path / facts().sha256).read_bytes() == DATA and len(state.requests) == 10


def test_a_shard_beyond_the_bound_is_fetched_unnamed(web: tuple[Hostile, str], tmp_path: Path) -> None:
    assert fetched(fetcher(web[1], cache=str(tmp_path), cache_bytes=len(DATA) - 1)) == DATA
    assert {p.name for p in tmp_path.iterdir()} <= {".lock"}


def test_a_failed_fetch_leaves_nothing_in_the_cache(web: tuple[Hostile, str], tmp_path: Path) -> None:
    web[0].objects[PATH] = WRONG
    refusal(fetcher(web[1], cache=str(tmp_path), tries=1))
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_threads_that_want_the_same_shard_transfer_it_once(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(pause=0.02)
    subject = fetcher(url, cache=str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: fetched(subject), range(8))) == {DATA}
    assert len(state.requests) == 10


# ---------------------------------------------------------------------- processes


@pytest.mark.parametrize(("method", "cached"), [("fork", True), ("fork", False), ("spawn", True)])
def test_processes_that_want_the_same_shard(
    web: tuple[Hostile, str], tmp_path: Path, method: str, cached: bool
) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(pause=0.05)
    subject = fetcher(url, cache=str(tmp_path) if cached else None)
    state.objects["/warm.tar"] = b"x"
    fetched(subject, facts(b"x", "/warm.tar"))  # the parent's event loop and connections exist before the fork
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    count = 2 if method == "fork" else 1  # spawning takes seconds
    children = [context.Process(target=fetch_for_parent, args=(subject, facts(), answers)) for _ in range(count)]
    for child in children:
        child.start()
    assert [answers.get(timeout=20) for _ in children] == [facts().sha256] * count
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    whole = 10 if method == "fork" else 1  # a spawned process has the module's own range
    assert len(state.starts(PATH)) == (whole if cached else 2 * whole)


def test_a_fork_in_the_middle_of_a_fetch(web: tuple[Hostile, str], tmp_path: Path) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(piece=RANGE // 8, pause=0.05)
    subject = fetcher(url, cache=str(tmp_path))
    context: Any = multiprocessing.get_context("fork")
    answers = context.Queue()
    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(fetched, subject)
        time.sleep(0.2)
        child = context.Process(target=fetch_for_parent, args=(subject, facts(), answers))
        child.start()
        assert answers.get(timeout=20) == facts().sha256 and mine.result() == DATA
    child.join(10)
    assert child.exitcode == 0 and len(state.requests) == 10


def test_it_travels(web: tuple[Hostile, str]) -> None:
    assert fetched(pickle.loads(pickle.dumps(fetcher(web[1])))) == DATA


def test_a_process_can_end_while_a_fetch_stalls(web: tuple[Hostile, str]) -> None:
    state, url = web
    state.scripts[PATH] = lambda _n, _r: Answer(stop_after=0, then="stall")
    script = f"""
import time
from concurrent.futures import ThreadPoolExecutor
from schemas.stream import RemoteConfig
from stages.store import Store
from stages.stream.fetch import Fetcher
from stages.stream.source import ShardFacts
pool = ThreadPoolExecutor(1)
pool.submit(Fetcher(Store({url!r}), RemoteConfig(), True).fetch, {facts()!r})
time.sleep(0.5)
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
    assert state.requests and time.monotonic() - began < 15  # stall_seconds is 30


@pytest.mark.parametrize("kills", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_kills_leave_nothing_wrong_nothing_too_much_and_nothing_locked(
    web: tuple[Hostile, str], tmp_path: Path, kills: int
) -> None:
    state, url = web
    shards = []
    for n in range(20):
        data = DATA[n * 1000 : n * 1000 + 300_000 + n]
        state.objects[f"/{n}.tar"] = data
        state.scripts[f"/{n}.tar"] = lambda _n, _r: Answer(piece=RANGE // 4, pause=0.002)
        shards.append(facts(data, f"/{n}.tar"))
    cache = ShardCache(str(tmp_path), 5 * 300_100)
    subject = fetcher(url, cache=str(tmp_path), cache_bytes=cache.max_bytes)
    context: Any = multiprocessing.get_context("fork")
    dice = random.Random(7)

    def start() -> Any:
        child = context.Process(target=fetch_for_ever, args=(subject, shards, dice.random()), daemon=True)
        child.start()
        return child

    children = [start() for _ in range(4)]
    most = 0
    for _ in range(kills):
        time.sleep(dice.uniform(0.02, 0.15))
        with cache._exclusive() as held:
            assert held
            most = max(most, held_bytes(tmp_path))
        victim = dice.randrange(4)
        assert all(c.is_alive() for c in children), [c.exitcode for c in children]
        children[victim].kill()
        children[victim].join(10)
        children[victim] = start()
    for child in children:
        child.kill()
        child.join(10)
    assert 300_000 <= most <= cache.max_bytes
    for path in tmp_path.iterdir():
        assert len(path.name) != 64 or hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    asked = len(state.requests)
    for shard in shards:
        assert hashlib.sha256(fetched(subject, shard)).hexdigest() == shard.sha256
    assert len(state.requests) > asked
    left = {p.name for p in tmp_path.iterdir()}
    assert len(left) == 6 and ".lock" in left and not any(n.startswith(".tmp-") for n in left)


# ---------------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def send(method: str, url: str, data: bytes = b"") -> None:
    key = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"Content-Type": "application/x-tar", "Authorization": key}  # taken, not checked
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status in (200, 204)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Credentials that any loopback server takes; clients are made anew, as the endpoint is no part of their key."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()
    yield monkeypatch
    clients.clear_instance_cache()


@pytest.fixture
def bucket(s3_server: str, s3: pytest.MonkeyPatch) -> str:
    """A bucket's URL on an S3 server, with the shard in it."""
    s3.setenv("AWS_ENDPOINT_URL", s3_server)
    send("PUT", f"{s3_server}/mill")
    send("PUT", f"{s3_server}/mill{PATH}", DATA)
    return f"{s3_server}/mill"


def test_s3(bucket: str) -> None:
    subject = fetcher("s3://mill", tries=1)
    assert fetched(subject) == DATA
    for data in (DATA[:-1], DATA + b"x", DATA[:10]):
        send("PUT", bucket + PATH, data)
        assert f"found {len(data)} bytes" in refusal(subject)
    send("PUT", bucket + PATH)
    assert "found another size" in refusal(subject)
    send("DELETE", bucket + PATH)
    assert "is missing" in refusal(subject)
    assert "is missing" in refusal(fetcher("s3://nowhere"))


@pytest.fixture
def hostile_s3(web: tuple[Hostile, str], s3: pytest.MonkeyPatch) -> Hostile:
    """The server of scripts in S3's place."""
    state, url = web
    s3.setenv("AWS_ENDPOINT_URL", url)
    state.objects = {KEY: DATA}
    fetched(fetcher("s3://mill"))  # a client takes long to make
    state.requests.clear()
    return state


@pytest.mark.parametrize("then", ["cut", "stall"])
def test_s3_that_breaks_off_is_resumed(hostile_s3: Hostile, then: str) -> None:
    hostile_s3.scripts[KEY] = lambda _n, r: Answer(stop_after=1000 if r.start == RANGE else None, then=then)
    assert fetched(fetcher("s3://mill", stall_seconds=0.4 if then == "stall" else 20)) == DATA
    assert sorted(hostile_s3.starts(KEY)) == sorted([*range(0, len(DATA), RANGE), RANGE + 1000])


def test_s3_that_is_slow_but_steady(hostile_s3: Hostile) -> None:
    data = hostile_s3.objects[KEY] = DATA[: 2 * RANGE]
    hostile_s3.scripts[KEY] = lambda _n, r: Answer(piece=RANGE // 20, pause=0.05, delay=0.7 if r.start == RANGE else 0)
    assert fetched(fetcher("s3://mill", stall_seconds=0.35, tries=1), facts(data)) == data
    assert len(hostile_s3.requests) == 2


def test_s3_that_always_stalls(hostile_s3: Hostile) -> None:
    hostile_s3.scripts[KEY] = lambda _n, _r: Answer(stop_after=0, then="stall")
    assert "in 2 tries: no byte for 0.2 s" in refusal(fetcher("s3://mill", stall_seconds=0.2, tries=2))


def test_s3_that_is_overloaded(hostile_s3: Hostile) -> None:
    hostile_s3.scripts[KEY] = lambda n, _r: Answer(status=503) if n < 1 else Answer()
    assert fetched(fetcher("s3://mill")) == DATA


def test_s3_without_credentials(hostile_s3: Hostile, s3: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        s3.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        s3.setenv(name, str(tmp_path / "none"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert "credentials" in refusal(fetcher("s3://mill"), WrongRequest)


def test_s3_after_a_fork(bucket: str) -> None:
    subject = fetcher("s3://mill")
    assert fetched(subject) == DATA
    context: Any = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=fetch_for_parent, args=(subject, facts(), answers))
    child.start()
    assert answers.get(timeout=20) == facts().sha256
    child.join(10)
    assert child.exitcode == 0
