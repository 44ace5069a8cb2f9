"""Whose turn it is: jobs queue per host, and hosts take turns, so that one big or slow host never holds up the rest."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class HasHost(Protocol):
    """What queues here."""

    @property
    def host(self) -> str: ...


J = TypeVar("J", bound=HasHost)


@dataclass(slots=True)
class _Host(Generic[J]):
    queue: deque[J] = field(default_factory=deque)
    active: int = 0
    paused: bool = False


class Hosts(Generic[J]):
    """A queue with a bound per host. `pop` gives the next job of the next host that may have one more in flight."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._hosts: dict[str, _Host[J]] = {}
        self._ready: OrderedDict[str, None] = OrderedDict()

    def push(self, job: J, front: bool = False) -> None:
        host = self._hosts.setdefault(job.host, _Host())
        if front:
            host.queue.appendleft(job)
        else:
            host.queue.append(job)
        self._settle(job.host)

    def pop(self) -> J | None:
        """The next job, which counts as in flight until `release`; None when nobody may go."""
        if not self._ready:
            return None
        name, _ = self._ready.popitem(last=False)
        host = self._hosts[name]
        job = host.queue.popleft()
        host.active += 1
        self._settle(name)
        return job

    def release(self, name: str) -> None:
        """A job of this host is no longer in flight."""
        self._hosts[name].active -= 1
        self._settle(name)

    def pause(self, name: str) -> None:
        """No more jobs of this host until `resume` (its name is being looked up)."""
        self._hosts[name].paused = True
        self._settle(name)

    def resume(self, name: str) -> None:
        self._hosts[name].paused = False
        self._settle(name)

    def _settle(self, name: str) -> None:
        host = self._hosts[name]
        if host.queue and not host.paused and host.active < self._per_host:
            self._ready.setdefault(name)
        else:
            self._ready.pop(name, None)
            if not host.queue and not host.active and not host.paused:
                del self._hosts[name]
