"""One request on one libcurl easy handle: its limits, and what came of it."""

import errno
import os
import socket
import time
from io import BytesIO
from ipaddress import ip_address
from typing import Any

import pycurl

from schemas.errors import WrongRequest
from schemas.recipe import DownloadConfig
from stages.download.answer import Answer, disallowing, parse_answer
from stages.download.guard import Address
from stages.download.reasons import DownloadReason, Refusal
from stages.download.url import Target

GOOD = frozenset({200, 203})
"""Statuses whose body is the thing asked for (RFC 9110, 15.3); 206 would be a part that nobody asked for."""

_IGNORED_BODY = 65_536  # of an error page or a redirect: read that much to keep the connection, then hang up
_BUFFER = 262_144
_LOCAL = frozenset({2, 4, 27, 41, 43, 48, 53, 54, 58, 59, 66, 77, 82})
"""CURLE codes that tell of this machine or of our options, never of the server: a bug, not a rejection."""


class Transfer:
    """An easy handle, used for one request after another, and the state of the present one."""

    def __init__(self, config: DownloadConfig, ca_bundle: str) -> None:
        self._config = config
        self.easy = pycurl.Curl()
        self._set_up(ca_bundle)

    def begin(self, target: Target, route: str | None, pinned: tuple[Address, ...]) -> None:
        """Get ready for a GET of `target`, through `route` (CURLOPT_CONNECT_TO) or to a `pinned` address only."""
        self.target = target
        self._pinned = None if route is not None else frozenset(pinned)
        self._raw_headers = BytesIO()
        self._answer: Answer | None = None
        self._chunks: list[bytes] = []
        self._seen = 0
        self._ignored = False
        self._cause: Refusal | None = None
        self._error: BaseException | None = None
        self.last_byte: float | None = None
        """Monotonic time of the last sign of life since the request could be sent; None while connecting."""
        easy = self.easy
        easy.setopt(pycurl.URL, target.url)
        easy.setopt(pycurl.HEADERFUNCTION, self._raw_headers.write)
        easy.setopt(pycurl.CONNECT_TO, [route] if route is not None else [])
        addresses = ",".join(f"[{a}]" if a.version == 6 else str(a) for a in pinned)
        # "+": the entry may leave libcurl's cache later; the socket is checked against the pin in any case
        pin = [f"+{target.host}:{target.port}:{addresses}"] if pinned and target.ip is None else []
        easy.setopt(pycurl.RESOLVE, pin)

    def close(self) -> None:
        self.easy.close()

    @property
    def answer(self) -> Answer:
        """Status and headers of the last answer, as they were when its body began."""
        if self._answer is None:
            self._answer = parse_answer(self._raw_headers.getvalue())
        return self._answer

    def body(self) -> bytes:
        return b"".join(self._chunks)

    def rest(self) -> None:
        """Let go of the body; the handle waits for its next request."""
        self._chunks = []

    def timed_out(self) -> Refusal:
        """The refusal of a transfer that the loop stops because no byte came."""
        return Refusal(DownloadReason.TIMEOUT, threshold=self._config.read_timeout_s, detail="read")

    def refusal(self, code: int) -> Refusal | None:
        """Why the transfer that ended with CURLE `code` gave no image; None where it gave a body.

        Redirects are the caller's. Raises what a callback raised, and RuntimeError for a code that speaks of this
        machine.
        """
        if self._error is not None:
            raise self._error
        status = self.answer.status
        if status is not None and status not in GOOD:
            return Refusal(DownloadReason.HTTP_STATUS, value=float(status))
        if status is not None and (refusal := self._disallowed()) is not None:
            return refusal
        if self._cause is not None:
            return self._cause
        if code == 0:
            return None if self._seen else Refusal(DownloadReason.EMPTY_BODY)
        return self._of_code(code)

    # ------------------------------------------------------------------ set-up

    def _set_up(self, ca_bundle: str) -> None:
        config, easy = self._config, self.easy
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        easy.setopt(pycurl.FOLLOWLOCATION, 0)
        easy.setopt(pycurl.HTTP09_ALLOWED, 0)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.PROXY, "")  # no proxy from the environment: it would be the one that resolves names
        easy.setopt(pycurl.USERAGENT, config.user_agent)
        easy.setopt(pycurl.HTTPHEADER, ["Accept: image/*,*/*;q=0.5"])
        easy.setopt(pycurl.ACCEPT_ENCODING, "gzip, deflate")
        easy.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(config.connect_timeout_s))
        easy.setopt(pycurl.TIMEOUT_MS, _milliseconds(config.total_timeout_s))
        easy.setopt(pycurl.MAXFILESIZE_LARGE, config.max_bytes)
        easy.setopt(pycurl.BUFFERSIZE, _BUFFER)
        easy.setopt(pycurl.TCP_NODELAY, 1)
        easy.setopt(pycurl.CAINFO, ca_bundle)
        easy.setopt(pycurl.SSL_VERIFYPEER, 1 if config.verify_tls else 0)
        easy.setopt(pycurl.SSL_VERIFYHOST, 2 if config.verify_tls else 0)
        easy.setopt(pycurl.OPENSOCKETFUNCTION, self._on_open)
        easy.setopt(pycurl.PREREQFUNCTION, self._on_request)
        easy.setopt(pycurl.WRITEFUNCTION, self._on_body)

    # ------------------------------------------------------------------ callbacks: pycurl swallows what they raise

    def _on_open(self, purpose: int, address: Any) -> Any:
        try:
            if self._pinned is not None and ip_address(address.addr[0]) not in self._pinned:
                self._cause = Refusal(DownloadReason.BLOCKED_ADDRESS, detail=f"{self.target.host[:100]}: not resolved")
                return pycurl.SOCKET_BAD
            made = socket.socket(address.family, address.socktype, address.protocol)
            os.close(os.dup(made.fileno()))  # pycurl will do the same, and would call a failure the server's
            return made
        except OSError as error:
            if error.errno in (errno.ENFILE, errno.EMFILE):
                self._error = WrongRequest(
                    "download.concurrency needs more open files than this process may have",
                    "lower it, or raise the limit (ulimit -n)",
                )
            return pycurl.SOCKET_BAD  # no IPv6 here, for one: libcurl tries the next address

    def _on_request(self, *_: Any) -> int:
        self.last_byte = time.monotonic()
        return pycurl.PREREQFUNC_OK

    def _on_body(self, chunk: bytes) -> int | None:
        self.last_byte = time.monotonic()
        if self._answer is None:
            self._ignored = self.answer.status not in GOOD or self._disallowed() is not None
        self._seen += len(chunk)
        if self._ignored:
            return None if self._seen <= _IGNORED_BODY else 0
        if self._seen > self._config.max_bytes:
            self._cause = self._too_large(self._config.max_bytes + 1)
            return 0
        self._chunks.append(chunk)
        return None

    # ------------------------------------------------------------------ verdicts

    def _disallowed(self) -> Refusal | None:
        config = self._config
        values = self.answer.headers.get("x-robots-tag", [])
        found = disallowing(values, config.user_agent_token, config.respect_robots_tag) if values else None
        return Refusal(DownloadReason.ROBOTS_DISALLOWED, detail=found) if found is not None else None

    def _too_large(self, size: int) -> Refusal:
        return Refusal(DownloadReason.TOO_LARGE, value=float(size), threshold=float(self._config.max_bytes))

    def _of_code(self, code: int) -> Refusal:
        if code in _LOCAL or (code == pycurl.E_WRITE_ERROR and not self._ignored):
            raise RuntimeError(f"libcurl ended with {code} ({self.easy.errstr()}) on {self.target.url}")
        if code == pycurl.E_OPERATION_TIMEDOUT:
            connecting = self.last_byte is None
            limit = self._config.connect_timeout_s if connecting else self._config.total_timeout_s
            return Refusal(DownloadReason.TIMEOUT, threshold=limit, detail="connect" if connecting else "total")
        if code == pycurl.E_FILESIZE_EXCEEDED:
            return self._too_large(max(self._promised() or 0, self._config.max_bytes + 1))
        if code == pycurl.E_PARTIAL_FILE or (code in _BROKEN and self.answer.status is not None):
            promised = self._promised()
            return Refusal(DownloadReason.PARTIAL_BODY, threshold=None if promised is None else float(promised))
        if code in _BROKEN:
            return Refusal(DownloadReason.CONNECT_ERROR, detail="connection broken")
        reason, detail = _REASONS.get(code, (DownloadReason.BAD_RESPONSE, f"curl {code}"))
        return Refusal(reason, detail=detail)

    def _promised(self) -> int | None:
        """Content-Length; libcurl's own figure is gone when it refuses one that is too large."""
        text = self.answer.headers.get("content-length", [""])[-1]
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


_BROKEN = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_HTTP2, 92})
"""The connection ended too early; which of these says so depends on who was faster (92: CURLE_HTTP2_STREAM)."""

# One detail where the code depends on the connection's history, so that the ledger does not.
_REASONS: dict[int, tuple[DownloadReason, str]] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: (DownloadReason.BAD_RESPONSE, "not HTTP"),  # at the first answer of a connection
    pycurl.E_FTP_WEIRD_SERVER_REPLY: (DownloadReason.BAD_RESPONSE, "not HTTP"),  # at a later one
    pycurl.E_URL_MALFORMAT: (DownloadReason.BAD_URL, "refused by libcurl"),
    pycurl.E_COULDNT_RESOLVE_HOST: (DownloadReason.DNS_ERROR, "connect_to address"),
    pycurl.E_COULDNT_CONNECT: (DownloadReason.CONNECT_ERROR, "refused or unreachable"),
    pycurl.E_BAD_CONTENT_ENCODING: (DownloadReason.BAD_RESPONSE, "content encoding"),
    pycurl.E_SSL_CONNECT_ERROR: (DownloadReason.TLS_ERROR, "handshake"),
    pycurl.E_PEER_FAILED_VERIFICATION: (DownloadReason.TLS_ERROR, "certificate"),
}
