"""Why a URL gave no image: the closed list, and the evidence that goes with one entry of it."""

from dataclasses import dataclass
from enum import StrEnum


class DownloadReason(StrEnum):
    """Every way in which `download` rejects a sample."""

    BAD_URL = "bad_url"
    """Not a URL that can be asked for; detail says what is wrong with it."""
    BLOCKED_SCHEME = "blocked_scheme"
    """Neither http nor https, at once or after a redirect; detail: the scheme."""
    BLOCKED_ADDRESS = "blocked_address"
    """Loopback, private, link-local, metadata or another address that is not the public internet's."""
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    """Refused, unreachable, or the connection broke."""
    TLS_ERROR = "tls_error"
    TIMEOUT = "timeout"
    """detail: connect, read or total; threshold: the limit in seconds."""
    HTTP_STATUS = "http_status"
    """value: the status."""
    TOO_MANY_REDIRECTS = "too_many_redirects"
    BAD_REDIRECT = "bad_redirect"
    """A redirect that leads nowhere: no Location, or one that is no URL."""
    BAD_RESPONSE = "bad_response"
    """Not an HTTP answer, or one that breaks the protocol."""
    TOO_LARGE = "too_large"
    """value: Content-Length, or the limit + 1 where the body was cut there; threshold: max_bytes."""
    PARTIAL_BODY = "partial_body"
    """The body ended early; threshold: the Content-Length promised, where there was one."""
    EMPTY_BODY = "empty_body"
    ROBOTS_DISALLOWED = "robots_disallowed"
    """X-Robots-Tag; detail: the directive."""
    NOT_AN_IMAGE = "not_an_image"
    """By its bytes, whatever the headers say; detail: what it is, where that is known."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    """An image or another medium, but none that is decoded here; detail: which."""
    SHA256_MISMATCH = "sha256_mismatch"
    """detail: the sha256 of what came."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """value: width × height by the header; threshold: max_pixels."""
    TOO_SMALL = "too_small"
    """value: the shorter side; threshold: resize.min_size."""
    BAD_ASPECT = "bad_aspect"
    """value: longer side over shorter; threshold: resize.max_aspect."""
    UNDECODABLE = "undecodable"
    """Only where a resize had to decode."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason with its evidence. `detail` is short and pure: no port, time or address that varies from run to run."""

    reason: DownloadReason
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None
