"""`train`: a vision-language model from builds."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.terminal import JsonFlag, emit
from schemas.errors import WrongRequest

if TYPE_CHECKING:
    from pipelines.train.loop.trainer import Ended
    from schemas.train_loop import TrainConfig


def train(
    config: Annotated[str, typer.Argument(help="Training configuration (YAML).", metavar="CONFIG")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; one that was begun goes on.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Read this build in the place of the file's.", metavar="[NAME=]BUILD"),
    ] = None,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Go on although data, rates or steps changed; it is recorded.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local: this process, or those of torchrun. ray: Ray Train.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Engine ray: so many processes.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="Engine ray: a cluster's; by default it starts one on this machine.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Align a projector, then tune on conversations; every token accounted for.

    The same command goes on from the newest checkpoint. SIGTERM saves and ends. Several processes: torchrun
    --nproc-per-node 8 -m pipelines.cli train CONFIG --out RUN; or --engine ray --workers 8.

    Example: pairmill train train.yaml --data builds/demo --out runs/demo
    """
    import os
    import sys

    import transformers

    from pipelines.train.loop.config_file import load_config

    first = os.environ.get("RANK", "0") == "0"
    if not (first and sys.stderr.isatty()):
        transformers.utils.logging.disable_progress_bar()
    ended = _run(load_config(config, data), out, allow_changed, _Engine(engine, workers, address))
    if not first:
        return
    if as_json:
        emit({"run": str(out), "step": ended.step, "stopped": ended.stopped, "loss": ended.loss})
    elif ended.stopped:
        typer.echo(f"{ended.stopped}: saved after step {ended.step}; the same command goes on")
    else:
        loss = "" if ended.loss is None else f", loss {ended.loss:.4f}"
        typer.echo(f"done after step {ended.step}{loss}: {out}")


@dataclass(frozen=True)
class _Engine:
    kind: str
    workers: int
    address: str | None


def _run(config: "TrainConfig", out: Path, allow_changed: bool, engine: _Engine) -> "Ended":
    def say(words: str) -> None:
        typer.echo(words, err=True)

    if engine.kind not in ("local", "ray"):
        raise WrongRequest(f"--engine {engine.kind!r} is none", "take local or ray")
    if engine.kind == "ray":
        from pipelines.train.loop.ray_run import train_by_ray

        return train_by_ray(config, out, engine.workers, engine.address, allow_changed, say)
    if engine.workers != 1 or engine.address is not None:
        raise WrongRequest("--workers and --address are for --engine ray", "add it, or start torchrun")
    from pipelines.train.loop.trainer import train

    return train(config, out, allow_changed, say)
