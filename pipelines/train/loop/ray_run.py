"""A run through Ray Train: the same `train`, in as many workers as are asked for, on this machine or a cluster.

Ray places the workers, joins them with torch.distributed, and ends all where one fails. Which rows a worker gets, the
checkpoints and the way back are the run's own, so its folder and the builds must be where every worker finds them, and
a run that began under torchrun may go on here. A signal ends it as a kill does: the same command goes on from the
newest checkpoint. Ray itself would ask for workers again and again, for ever and without a word; here it says so and
ends.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.engine.ray import RayEngine
from pipelines.train.loop.files import Say
from pipelines.train.loop.resume import alone
from pipelines.train.loop.trainer import Ended, train
from schemas.errors import PairmillError, Stopped, WrongRequest
from schemas.train_loop import TrainConfig

_SAID, _RAY = "logs/said", "logs/ray"
_POLL_SECONDS = 0.5
_NICENESS_ENV = "RAY_worker_niceness"
"""Ray's default is 15 above ours: on a machine that does something else, too, its workers hardly get to run."""
_PATIENCE_ENV = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_PATIENCE_SECONDS = 600
"""How long Ray may take to find room for the workers, where the environment says nothing: another job may end."""


def train_by_ray(
    config: TrainConfig, out: Path, workers: int, address: str | None, allow_changed: bool = False, say: Say = print
) -> Ended:
    """As `train`, in `workers` processes. `address`: a cluster's; null: one on this machine. Raises WrongRequest,
    WrongData and Stopped, whichever worker they come from first; Stopped where Ray finds no room for the workers."""
    import torch

    out = out.resolve()
    cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    with alone(out):  # is it a folder to train in? The first worker locks it, later
        pass
    engine = RayEngine(workers, address=address)
    os.environ.setdefault(_PATIENCE_ENV, str(_PATIENCE_SECONDS))
    os.environ.setdefault(_NICENESS_ENV, "0")
    try:
        engine.start()
        _check_room(workers, cuda)
        with _spoken(out / _SAID, say):
            told = {"config": config.model_dump(mode="json"), "out": str(out), "allow_changed": allow_changed}
            return Ended(**_fitted(told | {"folder": str(Path.cwd())}, out / _RAY, workers, cuda))
    finally:
        engine.close()
        shutil.rmtree(out / _RAY, ignore_errors=True)
        (out / _SAID).unlink(missing_ok=True)


def _fitted(told: dict[str, Any], storage: Path, workers: int, cuda: bool) -> dict[str, Any]:
    """What the first worker's run ended with."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    failures = FailureConfig(max_failures=0, controller_failure_limit=0)
    trainer = TorchTrainer(
        _worker,
        train_loop_config=told,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=cuda),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if cuda else "gloo"),
        run_config=RunConfig(name="run", storage_path=str(storage), failure_config=failures),
    )
    try:
        result: Any = trainer.fit()
    except TrainingFailedError as error:
        raise _said(error, workers) from error
    return result.return_value


def _worker(told: dict[str, Any]) -> dict[str, Any]:
    """In each worker, its process group joined."""
    from torch import distributed

    if Path(told["folder"]).is_dir():
        os.chdir(told["folder"])  # relative paths are relative to it
    out, first = Path(told["out"]), distributed.get_rank() == 0

    def say(words: str) -> None:
        with (out / _SAID).open("a", encoding="utf-8") as file:
            file.write(words + "\n")

    config = TrainConfig.model_validate(told["config"])
    ended = train(config, out, told["allow_changed"], say)
    return asdict(ended) if first else {}


def _said(error: Exception, workers: int) -> Exception:
    """The error that a person is meant to read, where there is one among the workers', or Ray could not start them."""
    why = getattr(error, "controller_failure", None)
    if type(why).__name__.startswith("WorkerGroupStartup"):
        return Stopped(
            f"Ray has not started {workers} workers: {str(why).partition('. ')[0]}",
            f"`ray status` says what is taken; ask for fewer workers, or give it longer ({_PATIENCE_ENV}, seconds)",
        )
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    causes = [getattr(failure, "_base_exc", failure) for _, failure in sorted(failures.items())]
    return next((cause for cause in causes if isinstance(cause, PairmillError)), error)


def _check_room(workers: int, cuda: bool) -> None:
    """Ray waits for devices that never come."""
    import ray

    have = ray.cluster_resources()
    kind = "GPU" if cuda else "CPU"
    if have.get(kind, 0) < workers:
        raise WrongRequest(f"--workers {workers}: Ray has {have.get(kind, 0):.0f} {kind}s", "ask for as many, or fewer")


@contextmanager
def _spoken(path: Path, say: Say) -> Iterator[None]:
    """What is added to a file, said line by line."""
    path.write_text("", encoding="utf-8")
    over = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as file:
            while True:
                last = over.wait(_POLL_SECONDS)
                for line in file:
                    say(line.rstrip("\n"))
                if last:
                    return

    thread = threading.Thread(target=follow, name="said", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
