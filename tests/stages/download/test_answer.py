"""Headers: what counts, and what a server cannot talk us into."""

import time
from email.utils import formatdate

import pytest

from stages.download.answer import disallowing, parse_answer, retry_after

WANTED = ["noai", "noimageai", "noindex", "noimageindex"]


def test_the_last_block_counts_and_interim_answers_do_not() -> None:
    found = parse_answer(b"HTTP/1.1 103 Early\r\nA: 1\r\n\r\nHTTP/2 200 \r\na: 2\r\nA: 3\r\nB:x:y\r\n\r\n")
    assert (found.status, found.headers) == (200, {"a": ["2", "3"], "b": ["x:y"]})


def test_a_header_cannot_pose_as_a_status_line() -> None:
    assert parse_answer(b"HTTP/1.1 404 No\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n").status == 404


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"nonsense", b"HTTP/1.1 abc\r\n", b"HTTP/1.1 100 Go\r\n\r\n"])
def test_no_answer_has_no_status(raw: bytes) -> None:
    assert parse_answer(raw).status is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("120", 120), (" ", None), ("-1", None), ("soon", None), ("9" * 30, 999999999), ("1.5", None)]
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after([text]) == seconds


def test_retry_after_as_a_date() -> None:
    assert retry_after([]) is None
    assert retry_after([formatdate(time.time() + 60, usegmt=True)]) == pytest.approx(60, abs=2)
    assert retry_after(["Wed, 21 Oct 2015 07:28:00 GMT"]) == 0


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["noai"], "noai"),
        (["NoAI , nofollow"], "noai"),
        (["nofollow", "noimageai"], "noimageai"),
        (["pairmill: noai"], "noai"),
        (["PairMill : noai"], "noai"),
        (["googlebot: noai"], None),
        (["noindex, max-image-preview: large"], "noindex"),
        (["max-snippet: 20, noindex"], "noindex"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None),
        (["noaiX", ""], None),
        ([], None),
    ],
)
def test_x_robots_tag(values: list[str], found: str | None) -> None:
    assert disallowing(values, "pairmill", WANTED) == found


def test_no_directive_is_respected_where_none_is_named() -> None:
    assert disallowing(["noai"], "pairmill", []) is None
