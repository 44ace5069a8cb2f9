"""Whatever a server says, a URL ends with an image or with a reason of the closed list, and nothing is raised."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.download.reasons import DownloadReason
from stages.download.stage import Download
from tests.stages.download.hostile import HostileServer, raw
from tests.stages.download.web import JPEG, batch, config, rows_of

_PIECES = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 503 No\r\n",
    b"HTTP/2 200\r\n", b"HTTP/9.9 999 Odd\r\n", b"HTTP/1.1 abc\r\n", b"HTTP/1.1 000 Zero\r\n", b"\r\n", b"\r\n\r\n",
    b"\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999999\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate, gzip, deflate, gzip, gzip, gzip\r\n",
    b"Content-Encoding: utf-8\r\n", b"Location: \r\n", b"Location: http://\xff\xfe/\r\n", b"Location: //\r\n",
    b"Location: ?\r\n", b"Location: http://web.test:99999/\r\n", b"X-Robots-Tag: :,:\r\n", b"Retry-After: \xff\r\n",
    b"Set-Cookie: " + b"a" * 9000 + b"\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b": \r\n", b" folded\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"ffffffffffffffff1\r\n", b"\x1f\x8b\x08\0", b"\0",
    JPEG, b"WWW-Authenticate: Basic\r\n", b"Alt-Svc: h3=\":443\"\r\n", b"Strict-Transport-Security: max-age=1\r\n",
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(_PIECES) | st.binary(max_size=30), max_size=9), min_size=1, max_size=6))
def test_no_answer_breaks_the_download(answers: list[list[bytes]]) -> None:
    with HostileServer() as server:
        for i, pieces in enumerate(answers):
            server.pages[f"/{i}"] = raw(b"".join(pieces))
        stage = Download(config(server, retries=1, max_redirects=2))
        outcome = stage.process(batch(f"http://web.test/{i}" for i in range(len(answers))))
        for row in rows_of(outcome):
            assert (row["image"] is None) == (row["reason"] is not None)
            assert row["reason"] is None or row["reason"] in set(DownloadReason)
        assert outcome.payload is not None
        outcome.payload.close()
        stage.close()
