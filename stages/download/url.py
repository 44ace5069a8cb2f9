"""URLs, parsed strictly and only once: what is checked is what libcurl is given.

Host rules follow the WHATWG URL standard where browsers agree on them: numbers in any base are IPv4 addresses
(`http://2130706433/` is 127.0.0.1), non-ASCII hosts go through UTS 46. What browsers repair and attackers use
(user information, backslashes, control characters) is refused instead.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

from stages.download.reasons import DownloadReason, Refusal

MAX_URL = 8192
"""Characters; longer ones are refused by common servers too (RFC 9110, 4.1 asks for 8000)."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_DIGITS = {8: re.compile("[0-7]+"), 10: re.compile("[0-9]+"), 16: re.compile("[0-9a-f]*")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KEEP = "%/?:@!$&'()*+,;=~-._[]|^{}`"  # what quote leaves alone; already escaped text stays as it is

# Ports where an HTTP request could speak to another service: the Fetch standard's "port blocking" list.
# fmt: off
_BAD_PORTS = frozenset({
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
    540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
    6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})
# fmt: on


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked for, if its address may be spoken to."""

    url: str
    """Canonical, ASCII, without a fragment."""
    scheme: str
    host: str
    """Lower case, IDNA-encoded, without a trailing dot; an IPv6 address stands without brackets."""
    port: int
    ip: IPv4Address | IPv6Address | None
    """Where the host is an address itself."""


def parse(text: str | None) -> Target | Refusal:
    """The target of `text`, or why there is none (bad_url, blocked_scheme, blocked_address for a blocked port)."""
    text = (text or "").strip(" \t\r\n\f\v")
    if not text or len(text) > MAX_URL:
        return _bad("too long" if text else "empty")
    if _CONTROL.search(text):
        return _bad("control character")
    scheme_match = _SCHEME.match(text)
    if scheme_match is None:
        return _bad("no scheme")
    scheme = scheme_match[1].lower()
    if scheme not in _DEFAULT_PORTS:
        return Refusal(DownloadReason.BLOCKED_SCHEME, detail=scheme[:20])
    rest = text[scheme_match.end() :]
    if not rest.startswith("//"):
        return _bad("no host")
    authority, tail = _split_authority(rest[2:])
    return _target(scheme, authority, tail)


def join(base: str, location: str) -> Target | Refusal:
    """Where a redirect leads. A Location that is no URL is bad_redirect."""
    try:
        joined = urljoin(base, location)
    except ValueError:
        return Refusal(DownloadReason.BAD_REDIRECT, detail="not a URL")
    found = parse(joined)
    if isinstance(found, Refusal) and found.reason is DownloadReason.BAD_URL:
        return Refusal(DownloadReason.BAD_REDIRECT, detail=found.detail)
    return found


def _bad(detail: str) -> Refusal:
    return Refusal(DownloadReason.BAD_URL, detail=detail)


def _split_authority(text: str) -> tuple[str, str]:
    end = min((i for i in (text.find(c) for c in "/?#") if i >= 0), default=len(text))
    tail = text[end:].partition("#")[0]
    return text[:end], tail if tail.startswith("/") else f"/{tail}"


def _target(scheme: str, authority: str, tail: str) -> Target | Refusal:
    if "\\" in authority:
        return _bad("backslash in the host")
    if "@" in authority:
        return _bad("user information")
    host_text, port_text = _split_port(authority)
    port = _port(port_text, _DEFAULT_PORTS[scheme])
    if port is None:
        return _bad("port")
    host = _host(host_text)
    if isinstance(host, Refusal):
        return host
    name, ip = host
    if port in _BAD_PORTS:
        return Refusal(DownloadReason.BLOCKED_ADDRESS, detail=f"port {port}")
    shown = f"[{name}]" if isinstance(ip, IPv6Address) else name
    suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return Target(f"{scheme}://{shown}{suffix}{quote(tail, safe=_KEEP)}", scheme, name, port, ip)


def _split_port(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") else rest and "?"
    host, _, port = authority.partition(":")
    return host, port


def _port(text: str, default: int) -> int | None:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return int(text) if 0 < int(text) < 65536 else None


def _host(text: str) -> tuple[str, IPv4Address | IPv6Address | None] | Refusal:
    if text.startswith("["):
        try:
            v6 = IPv6Address(text[1:-1] if text.endswith("]") else "")
        except AddressValueError:
            return _bad("IPv6 address")
        return _bad("IPv6 zone") if v6.scope_id else (v6.compressed, v6)
    name = _ascii(text)
    if name is None:
        return _bad("host name")
    name = name.removesuffix(".")
    labels = name.split(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return _bad("host name" if name else "no host")
    if _is_number(labels[-1]):
        v4 = _ipv4(labels)
        return _bad("IPv4 address") if v4 is None else (str(v4), v4)
    return name, None


def _ascii(text: str) -> str | None:
    if text.isascii():
        return text.lower()
    if len(text) > 253:
        return None
    import idna

    try:
        return idna.encode(text, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return None


def _is_number(label: str) -> bool:
    return label.isdigit() or re.fullmatch(r"0x[0-9a-f]*", label) is not None


def _ipv4(parts: list[str]) -> IPv4Address | None:
    """WHATWG "IPv4 parser": one to four numbers, decimal, octal (0…) or hexadecimal (0x…); the last fills the rest."""
    numbers = [_number(p) for p in parts]
    if len(numbers) > 4 or any(n is None for n in numbers):
        return None
    *first, last = [n for n in numbers if n is not None]
    if any(n > 255 for n in first) or last >= 256 ** (4 - len(first)):
        return None
    return IPv4Address(sum(n << (8 * (3 - i)) for i, n in enumerate(first)) + last)


def _number(text: str) -> int | None:
    base = 16 if text.startswith("0x") else 8 if len(text) > 1 and text.startswith("0") else 10
    digits = text[2:] if base == 16 else text
    return int(digits or "0", base) if _DIGITS[base].fullmatch(digits) else None
