"""Who may be spoken to: public addresses, and by name what the recipe allows.

Every address that a host name resolves to is checked, a transfer is pinned to the addresses that were checked, and
the pin is looked at again when libcurl opens the socket (`transfer.py`). So neither a redirect, nor a second DNS
answer, nor an odd spelling of an address leads inside.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from schemas.errors import WrongRequest
from stages.download.reasons import DownloadReason, Refusal

Address = IPv4Address | IPv6Address

# IANA special-purpose registries (RFC 6890 and its updates), and why each is not the public internet.
_V4: list[tuple[IPv4Network, str]] = [
    (IPv4Network(net), kind)
    for net, kind in [
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    ]
]
_V6: list[tuple[IPv6Network, str]] = [
    (IPv6Network(net), kind)
    for net, kind in [
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # Teredo, ORCHID, benchmarking
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
    ]
]
_V6_GLOBAL = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: IPv4 in the last 32 bits
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, deprecated: the same
_NEVER = frozenset({"unspecified", "multicast", "reserved", "documentation", "benchmarking"})


def kind_of(address: Address) -> str | None:
    """None for a public address, else what it is: loopback, private, link-local, multicast, …

    An IPv4 address inside an IPv6 one (mapped, compatible, NAT64, 6to4) counts as itself.
    """
    if isinstance(address, IPv6Address):
        if str(address) in ("::", "::1"):
            return "unspecified" if str(address) == "::" else "loopback"
        inner = _embedded(address)
        if inner is not None:
            return kind_of(inner)
        found = next((kind for net, kind in _V6 if address in net), None)
        return found or (None if address in _V6_GLOBAL else "reserved")
    return next((kind for net, kind in _V4 if address in net), None)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class HostPattern:
    """A host pattern: literal text in which `*` stands for anything; case does not matter."""

    def __init__(self, text: str) -> None:
        self._regex = re.compile(".*".join(re.escape(p) for p in text.lower().split("*")))

    def matches(self, host: str) -> bool:
        return self._regex.fullmatch(host) is not None


class Guard:
    """The address policy of one recipe."""

    def __init__(self, allow_private: Iterable[str], connect_to: Mapping[str, str]) -> None:
        """Raises WrongRequest where an address in `connect_to` is none."""
        self._private = [HostPattern(p) for p in allow_private]
        self._routes = [(HostPattern(p), _route(p, to)) for p, to in connect_to.items()]

    def route(self, host: str) -> str | None:
        """CURLOPT_CONNECT_TO entry for a host that the recipe maps; None where it maps none."""
        return next((route for pattern, route in self._routes if pattern.matches(host)), None)

    def check(self, host: str, addresses: Iterable[Address]) -> Refusal | None:
        """Why `host` may not be spoken to at these addresses: one bad address among them is enough."""
        allowed = any(p.matches(host) for p in self._private)
        for address in addresses:
            kind = kind_of(address)
            if kind is not None and (not allowed or kind in _NEVER):
                return Refusal(DownloadReason.BLOCKED_ADDRESS, detail=f"{host[:100]}: {kind}")
        return None


_TO = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")


def _route(pattern: str, to: str) -> str:
    match = _TO.fullmatch(to)
    if match is None or int(match["port"] or 80) > 65535:
        raise WrongRequest(
            f"download.connect_to maps {pattern!r} to {to!r}, which is no address",
            "write host, host:port or [IPv6]:port",
        )
    return f"::{match['host']}:{match['port'] or ''}"
