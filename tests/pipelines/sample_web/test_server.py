"""Every trouble is on the wire as it is stated. Raw sockets and urllib, loopback only."""

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.sample_web import bodies
from pipelines.sample_web.addresses import MIRROR_HOSTS
from pipelines.sample_web.payloads import Payload, encode
from pipelines.sample_web.pool import SampleWeb
from pipelines.sample_web.server import SampleWebServer
from pipelines.sample_web.troubles import Trouble


@pytest.fixture(scope="module")
def by_trouble(small_web: SampleWeb) -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {}
    for row in pq.read_table(small_web.truth).to_pylist():
        rows.setdefault(row["trouble"], []).append(row)
    return rows


def _get(server: SampleWebServer, url: str, timeout: float = 5) -> tuple[int, dict[str, str], bytes]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


SOUND = (
    "none", "exact_duplicate", "near_requality", "near_half", "near_crop", "near_brightness", "swapped", "hard_caption",
    "exif_rotated", "png", "png_alpha", "png_16bit", "grey", "cmyk", "animated_gif", "webp", "right_sha256",
    "jpeg_as_html", "noai_header", "wrong_sha256",
)  # fmt: skip


@pytest.mark.parametrize("trouble", SOUND)
def test_sound_pictures_arrive_whole(served, by_trouble, trouble: str):
    for row in by_trouble[trouble][:3]:
        status, headers, body = _get(served, row["url"])
        assert status == 200
        assert body == encode(served.pages[row["url"]].payload)
        Image.open(io.BytesIO(body)).load()
        assert headers["content-type"].startswith("text/html") == (trouble == "jpeg_as_html")
        assert ("noai" in headers.get("x-robots-tag", "")) == (trouble == "noai_header")


def test_exact_duplicates_come_from_another_host_with_the_same_bytes(served, by_trouble):
    row = by_trouble["exact_duplicate"][0]
    assert urllib.parse.urlsplit(row["url"]).netloc in MIRROR_HOSTS
    original = next(
        r for rows in by_trouble.values() for r in rows
        if r["duplicate_group"] == row["duplicate_group"] and r["duplicate_kind"] == "original"
    )  # fmt: skip
    assert _get(served, row["url"])[2] == _get(served, original["url"])[2]


@pytest.mark.parametrize(("trouble", "status"), [("gone_404", 404), ("gone_410", 410), ("error_500", 500)])
def test_dead_links(served, by_trouble, trouble: str, status: int):
    assert _get(served, by_trouble[trouble][0]["url"])[0] == status


def test_an_unknown_url_is_404(served):
    assert _get(served, "http://img0.sample.test/never-planted")[0] == 404


def test_a_recovering_page_refuses_once_with_retry_after_then_answers(served, by_trouble):
    url = by_trouble["recovering_503"][0]["url"]
    status, headers, _ = _get(served, url)
    assert (status, headers["retry-after"]) == (503, "1")
    assert _get(served, url)[0] == 200


def _follow(server: SampleWebServer, url: str, limit: int = 6) -> list[str]:
    """Locations met, without requesting an address that the server does not serve."""
    met = [url]
    while len(met) <= limit and met[-1] in server.pages:
        status, headers, _ = _get(server, met[-1])
        if status not in (301, 302, 303, 307, 308):
            break
        met.append(urllib.parse.urljoin(met[-1], headers["location"]))
    return met


def test_redirects_lead_where_they_are_said_to(served, by_trouble):
    for row in by_trouble["redirect_chain"]:
        met = _follow(served, row["url"])
        assert 2 <= len(met) <= 3
        assert _get(served, met[-1])[0] == 200
    assert len(_follow(served, by_trouble["redirect_loop"][0]["url"])) == 7
    assert _follow(served, by_trouble["redirect_file"][0]["url"])[-1].startswith("file://")
    private = urllib.parse.urlsplit(_follow(served, by_trouble["redirect_private"][0]["url"])[-1]).hostname
    assert private in ("127.0.0.1", "169.254.169.254", "10.11.12.13", "::1", "localhost")


def test_refused_and_reset_and_silence(served, by_trouble):
    refused = int(served.connect_to["refused.sample.test"].rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", refused), timeout=2)
    with pytest.raises(ConnectionResetError):
        _get(served, by_trouble["reset"][0]["url"])
    with pytest.raises(TimeoutError):
        _get(served, by_trouble["never_answers"][0]["url"], timeout=0.4)


def test_a_dripping_page_never_gets_far(served, by_trouble):
    parts = urllib.parse.urlsplit(by_trouble["drips"][0]["url"])
    with socket.create_connection(("127.0.0.1", served.port), timeout=2) as connection:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        received, end = b"", time.monotonic() + 1
        while time.monotonic() < end:
            received += connection.recv(4096)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Content-Length: 200000" in head
    assert 0 < len(body) < 1000


def test_a_truncated_body_ends_before_its_length(served, by_trouble):
    with pytest.raises(http.client.IncompleteRead) as caught:
        _get(served, by_trouble["truncated_body"][0]["url"])
    assert len(caught.value.partial) > 0 and caught.value.expected is not None and caught.value.expected > 0


def test_a_truncated_file_has_an_honest_length_and_no_end(served, by_trouble):
    status, headers, body = _get(served, by_trouble["truncated_file"][0]["url"])
    assert status == 200 and int(headers["content-length"]) == len(body)
    assert body.startswith(b"\xff\xd8") and not body.endswith(b"\xff\xd9")


@pytest.mark.parametrize(
    ("trouble", "media_type", "start"),
    [
        ("html_as_jpeg", "image/jpeg", b"<!doctype"), ("html_page", "text/html", b"<!doctype"),
        ("svg", "image/svg+xml", b"<?xml"), ("empty_body", "image/jpeg", b""),
    ],
)  # fmt: skip
def test_disguises(served, by_trouble, trouble: str, media_type: str, start: bytes):
    status, headers, body = _get(served, by_trouble[trouble][0]["url"])
    assert status == 200 and headers["content-type"].startswith(media_type)
    assert body.startswith(start) and (bool(body) == bool(start))


@pytest.mark.parametrize(("trouble", "side"), [("one_pixel", 1), ("tiny", 16)])
def test_crumbs_are_sound_small_and_not_all_the_same(served, by_trouble, trouble: str, side: int):
    image = Image.open(io.BytesIO(_get(served, by_trouble[trouble][0]["url"])[2]))
    image.load()
    assert image.size == (side, side)
    assert bodies.small_png(side, "a") != bodies.small_png(side, "b")


def test_bombs_are_small_and_promise_900_million_pixels(served, by_trouble):
    for trouble in ("bomb_header", "bomb_zlib"):
        body = _get(served, by_trouble[trouble][0]["url"])[2]
        width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
        assert width * height == 900_000_000
        assert len(body) < 200_000
    data = body[body.index(b"IDAT") + 4 :]
    unpacked, packer = 0, zlib.decompressobj()
    while data and not packer.eof:
        unpacked += len(packer.decompress(data, 1 << 20))
        data = packer.unconsumed_tail
    assert unpacked == 30_000 * (1 + 30_000 // 8)


@pytest.mark.parametrize("trouble", ["endless_body", "oversize_body"])
def test_a_body_without_measure_outgrows_any_cap(served, by_trouble, trouble: str):
    parts = urllib.parse.urlsplit(by_trouble[trouble][0]["url"])
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"Host": parts.netloc})
    answer = connection.getresponse()
    length = answer.getheader("content-length")
    assert (length is None) == (trouble == "endless_body")
    assert length is None or int(length) == bodies.OVERSIZE_BYTES
    assert len(answer.read(40 << 20)) == 40 << 20
    connection.close()


def test_a_tls_hello_ends_at_once(served):
    import ssl

    with socket.create_connection(("127.0.0.1", served.port), timeout=3) as raw, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(raw, server_hostname="img1.sample.test")


def test_one_connection_carries_many_requests(served, by_trouble):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
    for row in by_trouble["none"][:5]:
        parts = urllib.parse.urlsplit(row["url"])
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc})
        before = connection.sock
        assert connection.getresponse().read()
        assert connection.sock is before is not None
    connection.close()


def test_hits_count_full_urls_and_show_at_the_control_host(served, by_trouble):
    url = by_trouble["none"][7]["url"]
    before = served.hits[url]
    _get(served, url)
    _get(served, url)
    status, _, body = _get(served, "http://control.test/__hits__")
    assert status == 200
    assert json.loads(body)[url] == served.hits[url] == before + 2


def test_every_servable_row_is_on_the_site_map(served, by_trouble):
    unserved = {
        Trouble.url_missing, Trouble.url_malformed, Trouble.url_ftp, Trouble.url_private, Trouble.unknown_host,
        Trouble.refused, Trouble.not_tls,
    }  # fmt: skip
    for trouble, rows in by_trouble.items():
        for row in rows:
            assert (row["url"] in served.pages) == (Trouble(trouble) not in unserved), row


def test_a_stopped_server_is_gone_and_a_taken_port_is_reported(small_web: SampleWeb):
    with SampleWebServer(small_web.folder) as first:
        port = first.port
        with pytest.raises(OSError, match="in use"), SampleWebServer(small_web.folder, port=port):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_a_process_of_its_own_tells_its_port_serves_and_ends_on_sigterm(small_web: SampleWeb, tmp_path: Path):
    port_file = tmp_path / "port.json"
    command = [sys.executable, "-m", "pipelines.sample_web", str(small_web.folder), "--port-file", str(port_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not port_file.exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        told = json.loads(port_file.read_text())
        assert told["connect_to"]["*.test"] == f"127.0.0.1:{told['port']}"
        connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=5)
        connection.request("GET", "/__hits__", headers={"Host": "control.test"})
        assert json.loads(connection.getresponse().read()) == {}
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_warm_server_has_drawn_its_pictures_before_they_are_asked_for(small_web: SampleWeb, monkeypatch):
    from pipelines.sample_web import answers

    drawn: list[Payload] = []
    monkeypatch.setattr(answers, "encode", lambda payload: drawn.append(payload) or b"picture")
    with SampleWebServer(small_web.folder, warm=True) as server:
        wanted = {page.payload for page in server.pages.values() if page.payload}
        end = time.monotonic() + 10
        while len(drawn) < len(wanted) and time.monotonic() < end:
            time.sleep(0.02)
        assert set(drawn) == wanted
        assert len(drawn) == len(wanted)
        assert not server.hits
