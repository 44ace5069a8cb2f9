"""What an engine promises."""

from collections.abc import Callable
from typing import Any, Protocol

from pipelines.run_part import Failure, Runner

Done = Callable[[Any], None]


class Engine(Protocol):
    """Runs every order, completed in any order; calls `done` here for each; stops at the first failure."""

    def run(self, runner: Runner, orders: list[Any], done: Done) -> None:
        """Raises the failure's error when an order fails."""
        ...

    def close(self) -> None:
        """Let go of the cluster."""
        ...


def settle(receipt: Any, done: Done) -> None:
    """Hand on a receipt, or raise what it carries."""
    if isinstance(receipt, Failure):
        raise receipt.error
    done(receipt)
