"""Ray: part ids through Ray Data actor pools.

Each task is one work order; a model is loaded once per actor; pixels never enter the object store. Retries of lost
workers and nodes, placement and GPUs are Ray's. Started on first use, and only when there is work for it.
"""

import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.engine.base import Done, settle
from pipelines.engine.local import LocalEngine
from pipelines.run_part import Runner, attempt

_STORE_BYTES = 128 << 20  # orders and receipts only; Ray's own default takes a third of the memory

_NOT_WORTH_IT = 8
"""Light orders that are done sooner here than a cluster starts (12 CPU-seconds)."""


@contextmanager
def _no_chatter() -> Iterator[None]:
    """Ray's core writes notes to file descriptor 2 while it starts; they would tear the progress display."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class PartActor:
    """One actor of the pool: opens the runner once, then runs one order per call."""

    def __init__(self, runner: Runner, retries: int) -> None:
        self._runner, self._retries = runner, retries
        runner.open()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        receipts = [attempt(self._runner, pickle.loads(raw), self._retries) for raw in batch["order"]]
        return {"receipt": [pickle.dumps(r) for r in receipts]}


class RayEngine:
    """Runs orders on a Ray cluster, or on one started on this machine."""

    def __init__(self, workers: int = 0, retries: int = 1, address: str | None = None) -> None:
        self._workers, self._retries, self._address = workers, retries, address
        self._started = False

    def run(self, runner: Runner, orders: list[Any], done: Done) -> None:
        if not orders:
            return
        if runner.light and len(orders) <= _NOT_WORTH_IT:
            LocalEngine(self._retries).run(runner, orders, done)
            return
        self.start()
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"order": pickle.dumps(order)} for order in orders]
        pool = min(len(orders), self._workers or self._fitting(runner))
        receipts = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PartActor,  # pyright: ignore[reportArgumentType]
            batch_size=1,
            fn_constructor_args=(runner, self._retries),
            num_cpus=runner.cpus,
            num_gpus=runner.gpus,
            compute=ray.data.ActorPoolStrategy(size=pool),
        )
        for row in receipts.iter_rows():
            settle(pickle.loads(row["receipt"]), done)

    def _fitting(self, runner: Runner) -> int:
        """As many workers as the cluster has room for."""
        import ray

        have = ray.cluster_resources()
        by_cpu = have.get("CPU", 1.0) / runner.cpus if runner.cpus else float("inf")
        by_gpu = have.get("GPU", 0.0) / runner.gpus if runner.gpus else float("inf")
        return max(1, int(min(by_cpu, by_gpu)))

    def start(self) -> None:
        """Join the cluster, or start one here; once."""
        if self._started:
            return
        # Ray would otherwise see `uv run` above us and rebuild the environment for every worker.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray
        import ray.data

        for name in ("ray", "ray.data"):  # after the import, which sets them
            logging.getLogger(name).setLevel(logging.ERROR)
        with _no_chatter():
            self._init(ray)
        self._started = True

    def _init(self, ray: Any) -> None:
        if self._address:
            root = str(Path(__file__).resolve().parents[2])
            excludes = [".git", ".venv", "builds", "tests", "bench", "docs"]
            ray.init(
                address=self._address, runtime_env={"working_dir": root, "excludes": excludes}, log_to_driver=False
            )
        else:
            ray.init(
                address="local",
                num_cpus=max(self._workers, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                configure_logging=False,
            )

    def close(self) -> None:
        if self._started:
            import ray

            ray.shutdown()
            self._started = False
