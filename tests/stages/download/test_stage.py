"""What the stage says of a row: facts, reasons, evidence, payload, log."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from schemas.row import cast, nullable
from schemas.sample import Fetched
from stages.download.job import SampleBug
from stages.download.reasons import DownloadReason
from stages.download.stage import LOG, Download
from tests.stages.download.hostile import HostileServer, answer, in_turn, raw, redirect
from tests.stages.download.web import JPEG, batch, config, encoded, fetch, one, pixels, rows_of

OK = b"HTTP/1.1 200 OK\r\n"
SHA = hashlib.sha256(JPEG).hexdigest()


def test_a_good_image_is_kept_untouched_with_its_facts(server: HostileServer) -> None:
    server.pages["/a"] = answer(JPEG, Content_Type="text/html")
    row = one("http://a.test/a", config(server))
    assert row["reason"] is None
    assert row["image"] == JPEG
    assert (row["sha256"], row["stored_sha256"], row["fetched_bytes"]) == (SHA, SHA, len(JPEG))
    assert (row["format"], row["width"], row["height"], row["orientation"]) == ("jpeg", 40, 30, 1)
    assert (row["original_width"], row["original_height"]) == (40, 30)
    assert (row["url"], row["final_url"], row["http_status"]) == ("http://a.test/a", "http://a.test/a", 200)


def test_rotation_is_recorded_and_sizes_are_as_shown(server: HostileServer) -> None:
    turned = encoded(pixels(40, 30), exif=_exif(6))
    server.pages["/a"] = answer(turned)
    row = one("http://a.test/a", config(server))
    assert (row["width"], row["height"], row["orientation"]) == (30, 40, 6)
    assert row["image"] == turned


def _exif(orientation: int) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize(
    ("page", "reason", "value", "detail"),
    [
        (answer(b"gone", 404), "http_status", 404, None),
        (answer(b"", 204), "http_status", 204, None),
        (answer(JPEG, 206), "http_status", 206, None),
        (answer(b""), "empty_body", None, None),
        (answer(b"<!DOCTYPE html><p>sorry"), "not_an_image", None, "html"),
        (answer(b"\0\1\2\3" * 50), "not_an_image", None, None),
        (answer(b'<?xml version="1.0"?><svg xmlns="x"/>', Content_Type="image/png"), "unsupported_format", None, "svg"),
        (answer(JPEG, X_Robots_Tag="noai"), "robots_disallowed", None, "noai"),
        (answer(JPEG, X_Robots_Tag="pairmill: noindex"), "robots_disallowed", None, "noindex"),
        (answer(JPEG, X_Robots_Tag="otherbot: noai"), None, None, None),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "bad_response", None, "not HTTP"),
        (raw(b""), "connect_error", None, "connection broken"),
        (raw(OK + b"Content-Length: 500\r\n\r\n" + JPEG[:100]), "partial_body", None, None),
        (raw(OK + b"Content-Encoding: gzip\r\n\r\nnope"), "bad_response", None, "content encoding"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"), "partial_body", None, None),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "partial_body", None, None),
        (raw(b"HTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 404 No\r\n\r\n"), "http_status", 404, None),
        (raw(OK + b"\r\n" + JPEG), None, None, None),
        (redirect("ftp://x.test/"), "blocked_scheme", None, "ftp"),
        (answer(b"", 302), "bad_redirect", None, "no Location"),
        (redirect("http://[nonsense/"), "bad_redirect", None, "not a URL"),
        (redirect("http://user:secret@b.test/"), "bad_redirect", None, "user information"),
    ],
)  # fmt: skip
def test_each_answer_has_its_reason(
    server: HostileServer, page: object, reason: str | None, value: float | None, detail: str | None
) -> None:
    server.pages["/a"] = page  # type: ignore[assignment]
    row = one("http://a.test/a", config(server))
    assert (row["reason"], row["value"], row["detail"]) == (reason, value, detail)
    assert (row["image"] is None) == (reason is not None)


@pytest.mark.parametrize(
    ("url", "reason"),
    [(None, "bad_url"), ("", "bad_url"), ("not a url", "bad_url"), ("file:///etc/passwd", "blocked_scheme")],
)
def test_what_cannot_be_asked_for_is_refused(url: str | None, reason: str) -> None:
    assert one(url, config())["reason"] == reason


@pytest.mark.parametrize(
    ("promised", "verify", "reason"),
    [
        (SHA, True, None),
        (SHA.upper(), True, None),
        (None, True, None),
        ("0" * 64, True, "sha256_mismatch"),
        ("0" * 64, False, None),
    ],
)
def test_a_promised_sha256_is_held(server: HostileServer, promised: str | None, verify: bool, reason: str) -> None:
    server.pages["/a"] = answer(JPEG)
    (row,), _ = fetch(["http://a.test/a"], config(server, verify_sha256=verify), sha256=[promised])
    assert row["reason"] == reason
    assert row["detail"] == (SHA if reason else None)


def test_the_pixel_cap_is_read_from_the_header(server: HostileServer) -> None:
    bomb = bytearray(encoded(pixels(), "PNG"))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    server.pages["/a"] = answer(bytes(bomb))
    row = one("http://a.test/a", config(server, max_pixels=1_000_000))
    assert (row["reason"], row["value"], row["threshold"]) == ("too_many_pixels", 9e8, 1e6)
    assert (row["original_width"], row["width"]) == (30_000, None)


def test_the_table_fits_its_contract_and_payload_has_extensions(server: HostileServer) -> None:
    server.pages["/j"] = answer(JPEG)
    server.pages["/p"] = answer(encoded(pixels(), "PNG"))
    stage = Download(config(server))
    outcome = stage.process(batch(["http://a.test/p", "http://a.test/none", "http://a.test/j"]))
    cast(outcome.table, nullable(Fetched.arrow_schema()), "download")
    cast(outcome.kept, Fetched.arrow_schema(), "download")
    assert outcome.payload is not None
    assert [outcome.payload.ext(i) for i in range(3)] == ["png", None, "jpg"]
    outcome.payload.close()
    stage.close()


def test_an_empty_batch_gives_an_empty_outcome() -> None:
    stage = Download(config())
    outcome = stage.process(batch([]))
    assert outcome.table.num_rows == 0
    assert stage.log.schema == LOG
    stage.close()


def test_the_outcome_depends_on_neither_concurrency_nor_order_of_answers(server: HostileServer) -> None:
    for i in range(24):
        body = encoded(pixels(seed=i))
        server.pages[f"/{i}"] = answer(body if i % 5 else b"text", delay=0.05 * (i % 3))
    urls = [f"http://h{i % 3}.test/{i}" for i in range(24)]
    one_by_one, _ = fetch(urls, config(server, concurrency=1))
    together, _ = fetch(urls, config(server, concurrency=64))
    assert one_by_one == together
    assert [r["sample_id"] for r in together] == [f"{i:032x}" for i in range(24)]


def test_the_log_counts_attempts_and_requests(server: HostileServer) -> None:
    server.pages["/from"] = redirect("/to")
    server.pages["/to"] = in_turn(answer(b"", 503), answer(JPEG))
    _, log = fetch(["http://a.test/from", "nonsense"], config(server, retries=2))
    assert [(r["attempts"], r["requests"], r["bytes"], r["host"]) for r in log] == [
        (2, 3, len(JPEG), "a.test"),
        (1, 0, 0, None),
    ]
    assert log[0]["seconds"] > 0
    assert [r["reason"] for r in log] == [None, DownloadReason.BAD_URL]


def test_the_stage_travels_closed_and_works_again_after_close(server: HostileServer) -> None:
    server.pages["/a"] = answer(JPEG)
    stage = pickle.loads(pickle.dumps(Download(config(server))))
    for _ in range(2):
        outcome = stage.process(batch(["http://a.test/a"]))
        assert outcome.reason.to_pylist() == [None]
        outcome.payload.close()
        stage.close()
        stage = pickle.loads(pickle.dumps(stage))


def test_no_file_descriptor_is_left_open(server: HostileServer) -> None:
    server.pages["/a"] = answer(JPEG)
    server.pages["/b"] = raw(b"")
    urls = ["http://a.test/a", "http://b.test/b", "http://localhost/", "http://nowhere.invalid/", "x:"] * 8
    fetch(urls, config(server))  # what libraries open once for all
    before = _descriptors(server)
    for _ in range(3):
        fetch(urls, config(server))
    assert _descriptors(server) == before


def _descriptors(server: HostileServer) -> int:
    server.quiet()
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else os.getpid()


def test_a_bug_in_our_own_code_names_the_sample(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("stages.download.stage.sniff", broken)
    server.pages["/a"] = answer(JPEG)
    stage = Download(config(server))
    with pytest.raises(SampleBug, match="planted") as caught:
        stage.process(batch(["nonsense", "http://a.test/a"]))
    assert pickle.loads(pickle.dumps(caught.value)).sample_id == f"{1:032x}"
    monkeypatch.undo()
    outcome = stage.process(batch(["http://a.test/a"]))  # the stage is not left in pieces
    assert rows_of(outcome)[0]["image"] == JPEG
    outcome.payload.close()  # type: ignore[union-attr]
    stage.close()
