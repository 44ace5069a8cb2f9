"""Host names to addresses, in threads, with a cache: each host is asked for once, whatever the number of its rows.

A lookup is `getaddrinfo`, so the machine's own configuration is obeyed. It cannot be cancelled: one that hangs keeps
its thread until the system gives up. The time limit counts from when a thread took the lookup up, so that hosts whose
name servers are dead make others wait, but never fail.
"""

import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address

from stages.download.guard import Address

_TTL_S = 60.0  # as libcurl's DNS cache
_MOST = 65_536
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})

Lookup = Callable[[str], list[str]]
"""Host → addresses as text. Raises socket.gaierror."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a lookup found; `addresses` is empty where it failed."""

    addresses: tuple[Address, ...] = ()
    permanent: bool = False
    """The name does not exist, so that asking again is of no use."""


def system_lookup(host: str) -> list[str]:
    """getaddrinfo, in its order and without repeats."""
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(slots=True)
class _Entry:
    names: Names
    expires: float
    tries: int
    """Lookups of this host so far: a retry wants a newer failure than the one it has seen."""


class Resolver:
    """A cached, threaded lookup. Not thread-safe itself: one loop owns it."""

    def __init__(self, lookup: Lookup = system_lookup, limit_s: float = 5.0, threads: int = 32) -> None:
        """`limit_s`: how long a lookup may run before it counts as failed."""
        self._lookup = lookup
        self._limit_s = limit_s
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="dns")
        self._taken: set[Future[Names]] = set()
        self._running: dict[str, tuple[Future[Names], float]] = {}
        self._wanted: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._cache: OrderedDict[str, _Entry] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Whether a lookup runs whose answer, or whose deadline, is awaited."""
        return bool(self._running)

    def cached(self, host: str, tries: int) -> Names | None:
        """What is known of `host`. A failure counts only when `host` was looked up at least `tries` times."""
        entry = self._cache.get(host)
        if entry is None or entry.expires < time.monotonic():
            return None
        return entry.names if entry.names.addresses or entry.names.permanent or entry.tries >= tries else None

    def want(self, host: str, wake: Callable[[], None]) -> None:
        """Queue a lookup; `wake` is called from another thread when it ends."""
        self._wanted[host] = wake

    def turn(self) -> list[str]:
        """Take in what has ended, start what can start; returns the hosts that now have an answer."""
        now = time.monotonic()
        answered = [h for h, (future, deadline) in self._running.items() if future.done() or deadline <= now]
        for host in answered:
            future, _ = self._running.pop(host)
            self._store(host, future.result() if future.done() else Names())
        self._taken = {f for f in self._taken if not f.done()}
        while self._wanted and len(self._taken) < self._threads:
            host, wake = self._wanted.popitem(last=False)
            future = self._executor.submit(self._resolve, host)
            self._taken.add(future)
            self._running[host] = (future, now + self._limit_s)
            future.add_done_callback(_waker(wake))
        return answered

    def drop(self) -> None:
        """Forget what was wanted and has not ended."""
        self._wanted.clear()
        self._running.clear()

    def close(self) -> None:
        self.drop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _store(self, host: str, names: Names) -> None:
        old = self._cache.pop(host, None)
        tries = old.tries + 1 if old is not None and not old.names.addresses else 1
        self._cache[host] = _Entry(names, time.monotonic() + _TTL_S, tries)
        while len(self._cache) > _MOST:
            self._cache.popitem(last=False)

    def _resolve(self, host: str) -> Names:
        try:
            return Names(tuple(ip_address(a) for a in self._lookup(host)))
        except socket.gaierror as error:
            return Names(permanent=error.errno in _NO_SUCH_NAME)


def _waker(wake: Callable[[], None]) -> Callable[[Future[Names]], None]:
    return lambda _: wake()
