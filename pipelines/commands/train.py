"""`train`: a vision-language model from builds."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.terminal import JsonFlag, emit


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
    as_json: JsonFlag = False,
) -> None:
    """Align a projector, then tune on conversations; every token accounted for.

    The same command goes on from the newest checkpoint. SIGTERM saves and ends. Several processes: torchrun
    --nproc-per-node 8 -m pipelines.cli train CONFIG --out RUN.

    Example: pairmill train train.yaml --data builds/demo --out runs/demo
    """
    import os
    import sys

    import transformers

    from pipelines.train.loop.config_file import load_config
    from pipelines.train.loop.trainer import train as run

    first = os.environ.get("RANK", "0") == "0"
    if not (first and sys.stderr.isatty()):
        transformers.utils.logging.disable_progress_bar()
    ended = run(load_config(config, data), out, allow_changed, lambda words: typer.echo(words, err=True))
    if not first:
        return
    if as_json:
        emit({"run": str(out), "step": ended.step, "stopped": ended.stopped, "loss": ended.loss})
    elif ended.stopped:
        typer.echo(f"{ended.stopped}: saved after step {ended.step}; the same command goes on")
    else:
        loss = "" if ended.loss is None else f", loss {ended.loss:.4f}"
        typer.echo(f"done after step {ended.step}{loss}: {out}")
