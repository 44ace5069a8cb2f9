"""Which addresses are the public internet's."""

from ipaddress import ip_address

import pytest

from stages.download.guard import Guard, HostPattern, kind_of


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", None),
        ("172.15.255.255", None),
        ("172.32.0.0", None),
        ("100.63.255.255", None),
        ("100.128.0.0", None),
        ("2606:4700::1111", None),
        ("64:ff9b::8.8.8.8", None),
        ("::ffff:8.8.8.8", None),
        ("2002:808:808::1", None),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "carrier-grade NAT"),
        ("100.127.255.255", "carrier-grade NAT"),
        ("127.255.255.254", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "reserved"),
        ("192.168.1.1", "private"),
        ("198.19.0.1", "benchmarking"),
        ("203.0.113.7", "documentation"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "unspecified"),
        ("::10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::10.1.2.3", "private"),
        ("64:ff9b:1::1", "reserved"),
        ("2002:a9fe:a9fe::", "link-local"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved"),
        ("2001:db8::1", "documentation"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("ff02::1", "multicast"),
        ("100::1", "reserved"),
        ("5f00::1", "reserved"),
    ],
)
def test_kind_of_address(address: str, kind: str | None) -> None:
    assert kind_of(ip_address(address)) == kind


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("a.example", "a.example", True),
        ("A.Example", "a.example", True),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("a.example", "a.example.evil", False),
        ("a?example", "a.example", False),
        ("[ab].example", "a.example", False),
        ("10.0.*", "10.0.0.1", True),
        ("*", "anything", True),
    ],
)
def test_host_patterns(pattern: str, host: str, matches: bool) -> None:
    assert HostPattern(pattern).matches(host) is matches


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.1.1", "fd00::1", "100.64.0.1"])
def test_an_allowed_name_may_be_inside(address: str) -> None:
    guard = Guard(["in.example"], {})
    assert guard.check("in.example", [ip_address(address)]) is None
    assert guard.check("out.example", [ip_address(address)]) is not None


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::"])
def test_what_is_nobodys_address_stays_blocked(address: str) -> None:
    assert Guard(["*"], {}).check("in.example", [ip_address(address)]) is not None


def test_the_first_route_that_matches_is_taken() -> None:
    guard = Guard([], {"a.test": "127.0.0.1:1", "*.test": "[::1]:2", "b": "host"})
    assert [guard.route(h) for h in ("a.test", "b.test", "b", "c")] == ["::127.0.0.1:1", "::[::1]:2", "::host:", None]
