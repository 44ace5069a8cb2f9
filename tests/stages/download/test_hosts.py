"""Turns: hosts alternate, each within its bound."""

from dataclasses import dataclass

from stages.download.hosts import Hosts


@dataclass
class J:
    host: str
    n: int = 0


def _all(hosts: Hosts[J]) -> list[str]:
    return [f"{j.host}{j.n}" for j in iter(hosts.pop, None)]


def test_hosts_take_turns_within_their_bound() -> None:
    hosts: Hosts[J] = Hosts(2)
    for j in [J("a", 1), J("a", 2), J("a", 3), J("b", 1), J("c", 1)]:
        hosts.push(j)
    assert _all(hosts) == ["a1", "b1", "c1", "a2"]
    hosts.release("a")
    assert _all(hosts) == ["a3"]


def test_a_paused_host_waits() -> None:
    hosts: Hosts[J] = Hosts(2)
    hosts.push(J("a", 1))
    hosts.pause("a")
    hosts.push(J("b", 1))
    assert _all(hosts) == ["b1"]
    hosts.resume("a")
    assert _all(hosts) == ["a1"]


def test_a_job_put_back_goes_first() -> None:
    hosts: Hosts[J] = Hosts(1)
    hosts.push(J("a", 1))
    hosts.push(J("a", 2), front=True)
    first = hosts.pop()
    assert first is not None
    assert first.n == 2


def test_a_host_that_is_done_leaves_nothing_behind() -> None:
    hosts: Hosts[J] = Hosts(1)
    for i in range(100):
        hosts.push(J(f"h{i}"))
        assert hosts.pop() is not None
        hosts.release(f"h{i}")
    assert not hosts._hosts
