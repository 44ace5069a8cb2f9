"""An iterator worked ahead of its consumer, in one thread, a bounded number of items."""

import threading
from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")
_POLL_SECONDS = 0.1


class _End:
    """The last thing in the queue, with the error that ended the iterator."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(items: Iterator[Item], depth: int) -> Generator[Item]:
    """The same items in the same order, at most `depth` of them made and not yet taken; 0: none ahead, no thread.

    An error is raised where it would have been. Closing this iterator closes `items`.
    """
    if not depth:
        yield from items
        return
    queue: Queue[Item | _End] = Queue(depth)
    over = threading.Event()
    thread = threading.Thread(target=_work, args=(items, queue, over), name="batches", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        over.set()
        _drain(queue)
        thread.join()


def _work(items: Iterator[Item], queue: "Queue[Item | _End]", over: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(queue, item, over):
                break
    except BaseException as raised:  # noqa: BLE001 - it is raised again in the consumer's thread
        error = raised
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
        _put(queue, _End(error), over)


def _put(queue: "Queue[Item | _End]", item: "Item | _End", over: threading.Event) -> bool:
    while not over.is_set():
        try:
            queue.put(item, timeout=_POLL_SECONDS)
            return True
        except Full:
            continue
    return False


def _drain(queue: "Queue[Item | _End]") -> None:
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
