"""What an engine promises."""

from collections.abc import Callable
from typing import Protocol

from pipelines.run_part import Receipt, Runner, WorkOrder

OnReceipt = Callable[[Receipt], None]


class Engine(Protocol):
    """Runs every order, in any order of completion; calls `done` in this process for each; stops at the first error."""

    def run(self, runner: Runner, orders: list[WorkOrder], done: OnReceipt) -> None:
        """Raises the receipt's error when an order fails."""
        ...

    def close(self) -> None:
        """Let go of the cluster."""
        ...


def settle(receipt: Receipt, done: OnReceipt) -> None:
    """Hand on a receipt, or raise what it carries."""
    if receipt.error is not None:
        raise receipt.error
    done(receipt)
