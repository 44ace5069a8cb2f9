"""Shards over the network: out of S3, served as it should be and by a hostile server in its place."""

import multiprocessing
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from schemas.errors import WrongRequest
from tests.stages.stream.fetching import DATA, PATH, RANGE, facts, fetched, fetcher, refusal
from tests.stages.stream.servers import Answer, Hostile, fetch_for_parent

KEY = f"/mill{PATH}"
"""What an S3 client asks for."""

pytestmark = pytest.mark.usefixtures("small_ranges")


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
