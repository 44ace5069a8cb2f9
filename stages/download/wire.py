"""libcurl's multi handle on an event loop of its own: sockets, timers, and a way to be woken from another thread.

`socket_action` with a selector rather than `perform` with `select`: no limit of 1,024 file descriptors, and the cost
of a turn follows what happened, not what is open.
"""

import selectors
import socket
import time
from typing import Any

import pycurl

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_EVENTS = {pycurl.POLL_IN: _READ, pycurl.POLL_OUT: _WRITE, pycurl.POLL_INOUT: _READ | _WRITE}
_SAFETY_S = 1.0  # libcurl's timers have been lost before: it is asked at least this often


class Wire:
    """Transfers in flight. One thread owns it; only `wake` may be called from others."""

    def __init__(self, connections: int) -> None:
        """`connections`: most that are kept open, idle ones included."""
        self._multi = pycurl.CurlMulti()
        self._selector = selectors.DefaultSelector()
        self._events: dict[int, int] = {}
        self._due: float | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, _READ)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)

    def add(self, easy: pycurl.Curl) -> None:
        self._multi.add_handle(easy)

    def remove(self, easy: pycurl.Curl) -> None:
        self._multi.remove_handle(easy)

    def wake(self) -> None:
        """End the wait of a `poll` that runs now or comes next."""
        try:
            self._wake_out.send(b"x")
        except (BlockingIOError, OSError):
            return  # already full of wake-ups, or closed: nobody waits

    def poll(self, timeout: float) -> list[tuple[pycurl.Curl, int]]:
        """Wait up to `timeout` seconds for something to happen; returns (handle, CURLE code) of what ended.

        The handles are removed from the multi handle.
        """
        now = time.monotonic()
        wait = min(timeout, _SAFETY_S if self._due is None else max(0.0, self._due - now))
        for key, events in self._selector.select(wait):
            if key.fd == self._wake_in.fileno():
                self._drain()
            else:
                self._multi.socket_action(key.fd, _curl_events(events))
        if self._due is None or self._due <= time.monotonic():
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._ended()

    def close(self) -> None:
        """Close every connection. The handles must have been removed."""
        self._multi.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _ended(self) -> list[tuple[pycurl.Curl, int]]:
        ended: list[tuple[pycurl.Curl, int]] = []
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            ended += [(easy, 0) for easy in good]
            ended += [(easy, code) for easy, code, _ in bad]
        for easy, _ in ended:
            self._multi.remove_handle(easy)
        return ended

    def _drain(self) -> None:
        try:
            while self._wake_in.recv(4096):
                pass
        except BlockingIOError:
            return

    def _on_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _on_socket(self, event: int, fd: int, multi: Any, data: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            if self._events.pop(fd, None) is not None:
                self._selector.unregister(fd)
        elif fd in self._events:
            self._events[fd] = _EVENTS[event]
            self._selector.modify(fd, _EVENTS[event])
        else:
            self._events[fd] = _EVENTS[event]
            self._selector.register(fd, _EVENTS[event])


def _curl_events(events: int) -> int:
    return (pycurl.CSELECT_IN if events & _READ else 0) | (pycurl.CSELECT_OUT if events & _WRITE else 0)
