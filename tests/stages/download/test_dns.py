"""Look-ups: once per host, limited in time, and no host's trouble is another's."""

import socket
import threading
import time
from ipaddress import ip_address

from stages.download.dns import Names, Resolver
from tests.stages.download.hostile import HostileServer, answer
from tests.stages.download.web import JPEG, config, fetch


def _until(resolver: Resolver, host: str, tries: int = 1, limit: float = 5.0) -> Names:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        resolver.turn()
        if (names := resolver.cached(host, tries)) is not None:
            return names
        time.sleep(0.005)
    raise TimeoutError(host)


def test_many_rows_of_a_host_are_one_lookup(server: HostileServer) -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        time.sleep(0.05)
        return ["127.0.0.1"]

    server.pages["/a"] = answer(JPEG)
    urls = [f"http://{h}.example:{server.port}/a" for h in "ab" * 10]
    rows, _ = fetch(urls, config(allow_private=["*.example"]), lookup)
    assert {r["reason"] for r in rows} == {None}
    assert sorted(asked) == ["a.example", "b.example"]


def test_a_name_that_does_not_exist_is_not_tried_again() -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no")

    rows, log = fetch(["http://a.example/"] * 5, config(retries=3), lookup)
    assert {(r["reason"], r["detail"]) for r in rows} == {("dns_error", "no such name")}
    assert (len(asked), {r["attempts"] for r in log}) == (1, {1})


def test_a_failing_name_server_is_asked_once_per_try_and_not_once_per_row() -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    rows, log = fetch(["http://a.example/"] * 20, config(retries=2), lookup)
    assert {(r["reason"], r["detail"]) for r in rows} == {("dns_error", "no answer")}
    assert (len(asked), {r["attempts"] for r in log}) == (3, {3})


def test_a_name_that_resolves_at_the_second_try_is_fetched(server: HostileServer) -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        return ["127.0.0.1"]

    server.pages["/a"] = answer(JPEG)
    settings = config(retries=1, allow_private=["a.example"])
    rows, _ = fetch([f"http://a.example:{server.port}/a"] * 4, settings, lookup)
    assert {r["reason"] for r in rows} == {None}


def test_a_lookup_that_hangs_is_given_up_and_others_do_not_fail_for_it(server: HostileServer) -> None:
    release = threading.Event()

    def lookup(host: str) -> list[str]:
        if host.startswith("dead"):
            release.wait(10)
        return ["127.0.0.1"]

    server.pages["/a"] = answer(JPEG)
    urls = [f"http://dead{i}.example/" for i in range(40)] + [f"http://good.example:{server.port}/a"]
    settings = config(allow_private=["*"], connect_timeout_s=0.3)
    threading.Timer(1.0, release.set).start()  # every thread hangs until then; the good host waits its turn
    rows, _ = fetch(urls, settings, lookup)
    assert {(r["reason"], r["detail"]) for r in rows[:32]} == {("dns_error", "no answer")}
    assert rows[40]["reason"] is None


def test_an_answer_is_kept_and_a_retry_wants_a_newer_failure() -> None:
    answers = iter([socket.gaierror(socket.EAI_AGAIN, ""), ["192.0.2.1"]])

    def lookup(host: str) -> list[str]:
        found = next(answers)
        if isinstance(found, socket.gaierror):
            raise found
        return found

    resolver = Resolver(lookup)
    resolver.want("a", lambda: None)
    assert _until(resolver, "a") == Names()
    assert resolver.cached("a", 2) is None
    resolver.want("a", lambda: None)
    assert _until(resolver, "a", 2) == Names((ip_address("192.0.2.1"),))
    assert resolver.cached("a", 9) is not None
    resolver.close()
