"""Nothing from the web leads inside: real sockets, and a server that counts who got through."""

import socket

import pytest

from stages.download.dns import Lookup
from stages.download.guard import Guard
from stages.download.transfer import Transfer
from stages.download.url import parse
from stages.download.wire import Wire
from tests.stages.download.hostile import HostileServer, answer, in_turn, redirect
from tests.stages.download.web import JPEG, config, fetch, one

INSIDE = [
    "http://127.0.0.1:{port}/secret",
    "http://127.1:{port}/secret",
    "http://2130706433:{port}/secret",
    "http://0x7f000001:{port}/secret",
    "http://0x7f.1:{port}/secret",
    "http://0177.0.0.1:{port}/secret",
    "http://127.0.0.1.:{port}/secret",
    "http://１２７.0.0.1:{port}/secret",
    "http://127。0。0。1:{port}/secret",
    "http://0.0.0.0:{port}/secret",
    "http://0:{port}/secret",
    "http://[::1]:{port}/secret",
    "http://[::]:{port}/secret",
    "http://[::ffff:127.0.0.1]:{port}/secret",
    "http://[::ffff:7f00:1]:{port}/secret",
    "http://[::127.0.0.1]:{port}/secret",
    "http://[64:ff9b::7f00:1]:{port}/secret",
    "http://[2002:7f00:1::]:{port}/secret",
    "http://localhost:{port}/secret",
    "http://LOCALHOST.:{port}/secret",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://[fe80::1]/",
]
ODD = {
    "file:///etc/passwd": "blocked_scheme",
    "gopher://127.0.0.1:{port}/secret": "blocked_scheme",
    "dict://127.0.0.1:{port}/secret": "blocked_scheme",
    "http://a.test@127.0.0.1:{port}/secret": "bad",
    "http://127.0.0.1:{port}\\@a.test/secret": "bad",
    "http://a.test\\@127.0.0.1:{port}/secret": "bad",
    "http://127.0.0.1%00.a.test:{port}/secret": "bad",
    "http://127.0.0.1:{port}%23@a.test/secret": "bad",
    "http://%31%32%37.0.0.1:{port}/secret": "bad",
    "http://a.test:22/": "blocked_address",
}


@pytest.mark.parametrize("url", INSIDE)
def test_an_address_inside_is_blocked_in_every_spelling(server: HostileServer, url: str) -> None:
    server.pages["/secret"] = answer(JPEG)
    row = one(url.format(port=server.port), config(server))
    assert row["reason"] == "blocked_address"
    assert server.connections == 0


@pytest.mark.parametrize("url", INSIDE)
def test_a_redirect_leads_inside_no_more_than_a_url(server: HostileServer, url: str) -> None:
    server.pages["/secret"] = answer(JPEG)
    server.pages["/go"] = redirect(url.format(port=server.port))
    row = one("http://a.test/go", config(server))
    assert row["reason"] == "blocked_address"
    assert row["final_url"] == "http://a.test/go"
    assert server.hits == {"/go": 1}


@pytest.mark.parametrize(("url", "reason"), ODD.items())
def test_odd_urls_and_schemes_are_refused(server: HostileServer, url: str, reason: str) -> None:
    server.pages["/go"] = redirect(url.format(port=server.port))
    rows, _ = fetch([url.format(port=server.port), "http://a.test/go"], config(server))
    assert [r["reason"] for r in rows] == (["bad_url", "bad_redirect"] if reason == "bad" else [reason] * 2)
    assert server.hits == {"/go": 1}


def test_what_the_recipe_allows_by_name_is_reached(server: HostileServer) -> None:
    server.pages["/secret"] = answer(JPEG)
    urls = [f"http://localhost:{server.port}/secret", f"http://127.0.0.1:{server.port}/secret"]
    rows, _ = fetch(urls, config(allow_private=["local*"]))
    assert [r["reason"] for r in rows] == [None, "blocked_address"]


def test_a_redirect_out_of_an_allowed_host_is_checked_anew(server: HostileServer) -> None:
    server.pages["/go"] = redirect(f"http://127.0.0.1:{server.port}/secret")
    row = one(f"http://localhost:{server.port}/go", config(allow_private=["localhost"]))
    assert row["reason"] == "blocked_address"
    assert server.hits == {"/go": 1}


def test_one_private_address_among_public_ones_is_enough() -> None:
    def lookup(host: str) -> list[str]:
        return ["93.184.216.34", "10.0.0.1"]

    row = one("http://mixed.example/", config(), lookup)
    assert (row["reason"], row["detail"]) == ("blocked_address", "mixed.example: private")


def _turning(*answers: str) -> tuple[Lookup, list[str]]:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return [answers[min(len(asked), len(answers)) - 1]]

    return lookup, asked


def test_the_address_that_was_checked_is_the_one_that_is_spoken_to(server: HostileServer) -> None:
    """A name server that says 127.0.0.1 first and 127.0.0.2 later finds nobody listening to it."""
    with HostileServer("127.0.0.2", port=server.port) as other:
        for running in (server, other):
            running.pages["/a"] = answer(JPEG, Connection="close")
        lookup, asked = _turning("127.0.0.1", "127.0.0.2")
        urls = [f"http://rebinding.example:{server.port}/a"] * 5
        rows, _ = fetch(urls, config(allow_private=["rebinding.example"]), lookup)
        assert [r["reason"] for r in rows] == [None] * 5
        assert (server.connections, other.connections, len(asked)) == (5, 0, 1)


def test_a_second_answer_that_is_private_is_blocked(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.download.dns._TTL_S", 0.2)
    server.pages["/a"] = in_turn(answer(b"", 503), answer(JPEG))
    lookup, asked = _turning("127.0.0.1", "0.0.0.0")  # 0.0.0.0 is never allowed, and reaches this server all the same
    settings = config(allow_private=["rebinding.example"], retries=1, backoff_s=0.5)
    row = one(f"http://rebinding.example:{server.port}/a", settings, lookup)
    assert (row["reason"], len(asked), server.connections) == ("blocked_address", 2, 1)


def test_a_socket_to_an_address_that_was_not_checked_is_never_opened(server: HostileServer) -> None:
    """The last line: libcurl is made to resolve the name by itself, and still does not get its socket."""
    import pycurl

    settings = config()
    wire, transfer = Wire(4), Transfer(settings, "/dev/null")
    target = parse(f"http://localhost:{server.port}/a")
    transfer.begin(target, None, (socket_address("127.0.0.9"),))  # type: ignore[arg-type]
    transfer.easy.setopt(pycurl.RESOLVE, [f"+localhost:{server.port}:127.0.0.1"])
    wire.add(transfer.easy)
    ended: list[tuple[object, int]] = []
    while not ended:
        ended = wire.poll(0.2)
    refusal = transfer.refusal(ended[0][1])
    assert refusal is not None
    assert refusal.reason == "blocked_address"
    assert server.connections == 0
    transfer.close()
    wire.close()


def socket_address(text: str) -> object:
    from ipaddress import ip_address

    return ip_address(text)


def test_connect_to_is_matched_anew_after_a_redirect(server: HostileServer) -> None:
    with HostileServer() as other:
        server.pages["/go"] = redirect("http://b.other/a")
        other.pages["/a"] = answer(JPEG)
        routes = {"*.test": f"127.0.0.1:{server.port}", "*.other": f"127.0.0.1:{other.port}"}
        row = one("http://a.test/go", config(connect_to=routes))
        assert (row["reason"], row["final_url"]) == (None, "http://b.other/a")
        assert (server.hits, other.hits) == ({"/go": 1}, {"/a": 1})


def test_no_proxy_is_taken_from_the_environment(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        server.pages["/a"] = answer(JPEG)
        assert one("http://a.test/a", config(server))["reason"] is None
        assert proxy.connections == 0


def test_neither_cookies_nor_credentials_are_carried(server: HostileServer) -> None:
    server.pages["/go"] = answer(b"", 302, Location="http://b.test/a", Set_Cookie="id=1; Domain=test; Path=/")
    server.pages["/a"] = answer(JPEG)
    fetch(["http://b.test/go", "http://b.test/go"], config(server, per_host=1))
    assert len(server.requests) == 4
    assert not {"cookie", "authorization", "referer"} & {name for r in server.requests for name in r}


def test_a_guard_refuses_a_route_to_no_address() -> None:
    from schemas.errors import WrongRequest

    for to in ("", "host:port", "a b", "127.0.0.1:99999", "::1"):
        with pytest.raises(WrongRequest, match="connect_to"):
            Guard([], {"*": to})


def test_port_of_the_url_is_kept_where_connect_to_names_none(server: HostileServer) -> None:
    server.pages["/a"] = answer(JPEG)
    row = one(f"http://a.test:{server.port}/a", config(connect_to={"a.test": "127.0.0.1"}))
    assert row["reason"] is None


def test_ipv6_loopback_reached_only_where_allowed() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    row = one("http://[::1]:9999/", config())
    assert row["reason"] == "blocked_address"
