"""Limits of time and size, retries, turns: what a bad server can cost, and what it cannot."""

import gzip
import socket
import subprocess
import sys
import time

import pytest

from tests.stages.download.hostile import HostileServer, answer, drip, in_turn, raw, redirect, silent
from tests.stages.download.web import JPEG, config, encoded, fetch, one, pixels

OK = b"HTTP/1.1 200 OK\r\n"


def test_an_endless_body_is_cut_at_the_cap(server: HostileServer) -> None:
    server.pages["/a"] = drip(OK + b"\r\n", JPEG[:3] + bytes(65_536), 0)
    row = one("http://a.test/a", config(server, max_bytes=200_000))
    assert (row["reason"], row["value"], row["threshold"]) == ("too_large", 200_001, 200_000)


def test_a_huge_content_length_is_refused_before_the_body(server: HostileServer) -> None:
    server.pages["/a"] = raw(OK + b"Content-Length: 5000000000\r\n\r\n" + JPEG)
    row = one("http://a.test/a", config(server, max_bytes=1000))
    assert (row["reason"], row["value"], row["threshold"]) == ("too_large", 5e9, 1000)


def test_a_body_of_exactly_the_cap_is_kept(server: HostileServer) -> None:
    server.pages["/cl"] = answer(JPEG)
    server.pages["/close"] = raw(OK + b"\r\n" + JPEG)
    rows, _ = fetch(["http://a.test/cl", "http://a.test/close"], config(server, max_bytes=len(JPEG)))
    assert [r["reason"] for r in rows] == [None, None]


def test_a_gzip_bomb_is_cut_by_its_decoded_size(server: HostileServer) -> None:
    bomb = gzip.compress(bytes(30_000_000))
    server.pages["/a"] = answer(bomb, Content_Encoding="gzip")
    row = one("http://a.test/a", config(server, max_bytes=1_000_000))
    assert len(bomb) < 100_000
    assert (row["reason"], row["value"]) == ("too_large", 1_000_001)


def test_a_compressed_image_is_decoded(server: HostileServer) -> None:
    server.pages["/a"] = answer(gzip.compress(JPEG), Content_Encoding="gzip")
    assert one("http://a.test/a", config(server))["image"] == JPEG


@pytest.mark.parametrize("status", [404, 302])
def test_an_endless_error_page_costs_little(server: HostileServer, status: int) -> None:
    sent = []

    def page(exchange: object) -> bool:
        exchange.send(f"HTTP/1.1 {status} X\r\nLocation: /b\r\n\r\n".encode())  # type: ignore[attr-defined]
        while True:
            exchange.send(bytes(65_536))  # type: ignore[attr-defined]
            sent.append(65_536)

    server.pages["/a"] = page
    server.pages["/b"] = answer(JPEG)
    row = one("http://a.test/a", config(server))
    assert (row["reason"], row["value"]) == (("http_status", 404) if status == 404 else (None, None))
    assert sum(sent) < 20_000_000  # what socket buffers hold


def test_a_server_that_never_answers_hits_the_read_limit(server: HostileServer) -> None:
    server.pages["/a"] = silent
    began = time.monotonic()
    row = one("http://a.test/a", config(server, read_timeout_s=0.4))
    assert (row["reason"], row["detail"], row["threshold"]) == ("timeout", "read", 0.4)
    assert row["http_status"] is None
    assert time.monotonic() - began < 3


def test_a_drip_hits_the_total_limit(server: HostileServer) -> None:
    server.pages["/a"] = drip(OK + b"Content-Length: 5000\r\n\r\n", b"\xff", 0.05)
    row = one("http://a.test/a", config(server, read_timeout_s=0.5, total_timeout_s=1.0))
    assert (row["reason"], row["detail"], row["threshold"]) == ("timeout", "total", 1.0)


def test_a_drip_of_headers_hits_the_total_limit(server: HostileServer) -> None:
    server.pages["/a"] = drip(OK, b"X: y\r\n", 0.05)
    row = one("http://a.test/a", config(server, total_timeout_s=0.8))
    assert (row["reason"], row["detail"]) == ("timeout", "total")


def test_a_host_that_takes_no_connection_hits_the_connect_limit() -> None:
    with socket.socket() as listener, socket.socket() as filler, socket.socket() as filler2:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # Linux keeps one more than that, and drops the next
        for s in (filler, filler2):
            s.setblocking(False)
            s.connect_ex(listener.getsockname())
        settings = config(connect_to={"*": f"127.0.0.1:{listener.getsockname()[1]}"}, connect_timeout_s=0.4)
        row = one("http://a.test/", settings)
    assert (row["reason"], row["detail"], row["threshold"]) == ("timeout", "connect", 0.4)


def test_a_closed_port_is_a_connect_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = config(connect_to={"*": f"127.0.0.1:{unused.getsockname()[1]}"})
        row = one("http://a.test/", settings)
    assert (row["reason"], row["detail"]) == ("connect_error", "refused or unreachable")


def test_headers_without_end_are_refused(server: HostileServer) -> None:
    server.pages["/a"] = drip(OK, b"X: " + b"y" * 50_000 + b"\r\n", 0)
    row = one("http://a.test/a", config(server))
    assert row["reason"] in ("bad_response", "partial_body", "connect_error")


# ---------------------------------------------------------------------- retries


def test_503_with_retry_after_and_then_the_image(server: HostileServer) -> None:
    server.pages["/a"] = in_turn(answer(b"", 503, Retry_After="1"), answer(JPEG))
    began = time.monotonic()
    (row,), (log,) = fetch(["http://a.test/a"], config(server, retries=2))
    assert (row["reason"], row["http_status"], log["attempts"]) == (None, 200, 2)
    assert time.monotonic() - began >= 1


def test_a_retry_after_beyond_the_whole_limit_does_not_hold_a_worker(server: HostileServer) -> None:
    server.pages["/a"] = in_turn(answer(b"", 429, Retry_After="86400"), answer(JPEG))
    began = time.monotonic()
    assert one("http://a.test/a", config(server, retries=1))["reason"] is None
    assert time.monotonic() - began < 3


def test_pauses_double(server: HostileServer) -> None:
    server.pages["/a"] = answer(b"", 500)
    began = time.monotonic()
    row = one("http://a.test/a", config(server, retries=2, backoff_s=0.2))
    assert (row["reason"], row["value"]) == ("http_status", 500)
    assert 0.6 <= time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("page", "tries"),
    [
        (answer(b"", 404), 1),
        (answer(b"", 410), 1),
        (answer(b"text"), 1),
        (answer(b"", 408), 3),
        (answer(b"", 425), 3),
        (answer(b"", 429), 3),
        (answer(b"", 500), 3),
        (raw(b""), 3),
        (raw(OK + b"Content-Length: 9\r\n\r\nabc"), 3),
        (raw(b"nonsense\r\n"), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(server: HostileServer, page: object, tries: int) -> None:
    server.pages["/a"] = page  # type: ignore[assignment]
    one("http://a.test/a", config(server, retries=2))
    assert server.hits["/a"] == tries


def test_a_retry_after_a_redirect_asks_the_last_hop_again(server: HostileServer) -> None:
    server.pages["/go"] = redirect("/a")
    server.pages["/a"] = in_turn(raw(b""), answer(b"", 503), answer(JPEG))
    assert one("http://a.test/go", config(server, retries=2))["reason"] is None
    assert server.hits == {"/go": 1, "/a": 3}


# ---------------------------------------------------------------------- redirects


def test_a_chain_of_redirects_is_followed(server: HostileServer) -> None:
    for i, (status, to) in enumerate([(301, "/1"), (302, "2"), (303, "//b.test/3"), (307, "http://c.test/4?x=1#f")]):
        server.pages[f"/{i}"] = redirect(to, status)
    server.pages["/4?x=1"] = redirect("/5", 308)
    server.pages["/5"] = answer(JPEG)
    row = one("http://a.test/0", config(server))
    assert (row["reason"], row["final_url"]) == (None, "http://c.test/5")
    assert server.order == ["a.test/0", "a.test/1", "a.test/2", "b.test/3", "c.test/4?x=1", "c.test/5"]


def test_a_loop_of_redirects_ends(server: HostileServer) -> None:
    server.pages["/a"] = redirect("/b")
    server.pages["/b"] = redirect("/a")
    row = one("http://a.test/a", config(server, max_redirects=4, retries=2))
    assert (row["reason"], row["value"], row["threshold"]) == ("too_many_redirects", 5, 4)
    assert sum(server.hits.values()) == 5


def test_no_redirect_is_followed_where_none_is_allowed(server: HostileServer) -> None:
    server.pages["/a"] = redirect("/b")
    assert one("http://a.test/a", config(server, max_redirects=0))["reason"] == "too_many_redirects"
    assert server.hits == {"/a": 1}


# ---------------------------------------------------------------------- turns


def test_connections_are_used_again(server: HostileServer) -> None:
    server.pages["/a"] = answer(JPEG)
    rows, _ = fetch(["http://a.test/a"] * 20, config(server, per_host=1))
    assert [r["reason"] for r in rows] == [None] * 20
    assert (server.hits["/a"], server.connections) == (20, 1)


def test_a_missing_page_and_a_redirect_keep_the_connection(server: HostileServer) -> None:
    server.pages["/go"] = redirect("/a")
    server.pages["/a"] = answer(JPEG)
    fetch(["http://a.test/none", "http://a.test/go"], config(server, per_host=1))
    assert (sum(server.hits.values()), server.connections) == (3, 1)


@pytest.mark.parametrize("limit", [{"per_host": 3}, {"concurrency": 3}])
def test_as_many_at_once_as_allowed_and_not_more(server: HostileServer, limit: dict[str, int]) -> None:
    server.pages["/a"] = answer(JPEG, delay=0.1)
    fetch(["http://a.test/a"] * 12, config(server, **limit))
    assert server.most_at_once == 3


def test_a_slow_host_does_not_hold_up_another(server: HostileServer) -> None:
    server.pages["/slow"] = answer(JPEG, delay=0.2)
    server.pages["/fast"] = answer(JPEG)
    urls = ["http://slow.test/slow"] * 10 + ["http://fast.test/fast"] * 10
    fetch(urls, config(server, per_host=2, concurrency=4))
    assert max(i for i, asked in enumerate(server.order) if asked.endswith("/fast")) < 15


def test_a_url_that_fails_in_every_way_leaves_its_neighbours_alone(server: HostileServer) -> None:
    good = [encoded(pixels(seed=i)) for i in range(6)]
    for i, body in enumerate(good):
        server.pages[f"/{i}"] = answer(body)
    server.pages["/silent"] = silent
    server.pages["/endless"] = drip(OK + b"\r\n", bytes(65_536), 0)
    server.pages["/broken"] = raw(OK + b"Content-Length: 900\r\n\r\n" + JPEG[:50])
    bad = [
        "http://a.test/silent",
        "http://a.test/endless",
        "http://a.test/broken",
        "http://[",
        "http://nowhere.invalid/",
    ]
    urls = [u for i in range(5) for u in (f"http://a.test/{i}", bad[i])] + ["http://a.test/5"]
    rows, _ = fetch(urls, config(server, read_timeout_s=0.5, max_bytes=100_000))
    assert [r["image"] for r in rows[::2]] == good
    assert [r["reason"] for r in rows[1::2]] == ["timeout", "too_large", "partial_body", "bad_url", "dns_error"]


def test_what_is_no_http_reads_the_same_on_a_new_connection_and_on_a_used_one(server: HostileServer) -> None:
    """libcurl has a code for the one and another for the other."""
    server.pages["/a"] = answer(JPEG)
    server.pages["/b"] = raw(b"\x00\xff\x00 no http\r\n\r\n")
    fresh, _ = fetch(["http://a.test/b"], config(server))
    used, _ = fetch(["http://a.test/a", "http://a.test/b"], config(server, per_host=1))
    assert server.connections == 2
    evidence = [(r["reason"], r["detail"]) for r in (*fresh, *used)]
    assert evidence == [("bad_response", "not HTTP"), (None, None), ("bad_response", "not HTTP")]


def test_too_few_open_files_stop_the_build_and_reject_nobody(server: HostileServer) -> None:
    """In a process of its own: this machine's trouble is never a sample's."""
    server.pages["/a"] = answer(JPEG, delay=0.5)
    code = f"""
import resource
from pathlib import Path
from schemas.errors import WrongRequest
from stages.download.stage import Download
from tests.stages.download.web import batch, config
stage = Download(config(connect_to={server.connect_to!r}, concurrency=40, per_host=40))
stage.open()
stage.process(batch(["x:"]))
used = len(list(Path("/proc/self/fd").iterdir()))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    stage.process(batch(["http://a.test/a"] * 40))
except WrongRequest as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "open files" in ran.stdout
    assert "ulimit" in ran.stdout
