"""The engine for debugging, tests and tiny builds: one part after another, in this process."""

from typing import Any

from pipelines.engine.base import Done, settle
from pipelines.run_part import Runner, attempt


class LocalEngine:
    """Runs orders here."""

    def __init__(self, retries: int = 1) -> None:
        self._retries = retries

    def run(self, runner: Runner, orders: list[Any], done: Done) -> None:
        if not orders:
            return
        runner.open()
        try:
            for order in orders:
                settle(attempt(runner, order, self._retries), done)
        finally:
            runner.close()

    def close(self) -> None:
        """Nothing to let go of."""
