"""SIGTERM and SIGINT as a wish: the step that runs is finished, saved, and the run ends in peace."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Within this context the first signal sets `asked`; a second one does what it always does.

    Outside the main thread (Ray Train's workers) there are no handlers, and `asked` is for the caller to set.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        """Name of the signal."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._restore()

    def _on(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
