"""`plan`, `build`, `demo`: what makes a build."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from pipelines.terminal import (
    JsonFlag,
    OutOption,
    RecipeArg,
    SetOption,
    emit,
    load,
    out_of,
    show,
    store,
    survival,
    watched,
)


def build(
    recipe: RecipeArg,
    out: OutOption = None,
    settings: SetOption = None,
    until: Annotated[str, typer.Option(help="Stop after this stage.")] = "shards",
    engine: Annotated[str | None, typer.Option(help="ray or local.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster address, or auto.")] = None,
    workers: Annotated[int | None, typer.Option(help="Workers per stage.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Build a recipe into a folder; only what is stale is made again.

    Example: pairmill build recipe.yaml --out builds/mine --set shards.seed=1
    """
    from pipelines.build import BuildOptions
    from pipelines.build import build as run

    extra = [("kind", engine), ("address", address), ("workers", workers)]
    overrides = (settings or []) + [f"engine.{k}={v}" for k, v in extra if v is not None]
    loaded = load(recipe, overrides)
    target = store(out_of(out, loaded.recipe.name))
    watched(as_json, lambda watcher: run(loaded, target, BuildOptions(until, watcher)))
    if as_json:
        emit({"build": target.url})
    else:
        survival(target)


def plan(recipe: RecipeArg, out: OutOption = None, settings: SetOption = None, as_json: JsonFlag = False) -> None:
    """What is stale and why, and what a build would cost. Writes nothing.

    Example: pairmill plan recipe.yaml --out builds/mine --set select.rules.low_clip.keep='clip_score >= 0.3'
    """
    from pipelines.estimate import Forecast, forecast
    from pipelines.plan import make_plan

    loaded = load(recipe, settings or [])
    found: Forecast = forecast(make_plan(loaded, store(out_of(out, loaded.recipe.name))))
    if as_json:
        emit(found.as_json())
    else:
        show(found.render())


def demo(
    out: Annotated[
        str | None, typer.Option("--out", help="Build folder; the sample web goes beside it. builds/demo[-train].")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Rows of the sample web.", min=200, show_default="1200")] = None,
    engine: Annotated[str | None, typer.Option(help="ray or local.")] = None,
    workers: Annotated[int | None, typer.Option(help="Workers per stage.")] = None,
    teacher: Annotated[str, typer.Option(help="template, or local: a real small language model.")] = "template",
    train: Annotated[bool, typer.Option("--train", help="Then train a small model on 3,000 rows, and ask it.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Serve the sample web on loopback, build from it, show what became of every row.

    Example: pairmill demo --train
    """
    import time

    from pipelines.demo import DemoOptions, run_demo, speed
    from pipelines.demo_train import BOXED, ROWS

    began = time.monotonic()
    target = out or ("builds/demo-train" if train else "builds/demo")
    options = DemoOptions(engine=engine, workers=workers, teacher=teacher)
    if train:
        options = replace(options, rows=ROWS, boxed=BOXED)
    if rows is not None:
        options = replace(options, rows=rows)
    if not as_json:
        about = f"A web of {options.rows:,} image-caption pairs with planted troubles, served on loopback"
        typer.echo(f"{about}; built into {target}\n")
    stages = watched(as_json, lambda watcher: run_demo(target, options, watcher))
    seconds = round(time.monotonic() - began, 1)
    if not as_json:
        survival(store(target))
        if (rate := speed(target, stages)) is not None:
            typer.echo(rate)
        typer.echo(f"\nBuilt in {seconds} s.")
    learnt = _learn(target, as_json) if train else {}
    if as_json:
        emit({"build": target, "seconds": seconds, **learnt})
        return
    _try_next(target, train)


def _learn(target: str, as_json: bool) -> dict[str, Any]:
    """Train on the demo; what came of it, as JSON."""
    from pipelines import demo_train
    from pipelines.train.evaluate.table import table

    learnt = demo_train.train_demo(target, lambda words: None if as_json else typer.echo(words, err=True))
    if not as_json:
        typer.echo()
        show(table(f"Pictures that {learnt.run} never saw", learnt.rows))
        typer.echo()
        for line in demo_train.shown(learnt.said):
            typer.echo(line)
        typer.echo(f"\nTrained in {learnt.seconds:.0f} s: {learnt.run}")
    return {"training": demo_train.as_json(learnt)}


def _try_next(target: str, train: bool) -> None:
    from pipelines.demo import next_commands
    from pipelines.demo_train import next_commands as learnt

    typer.echo("\nTry next:\n")
    for command, what in [*(learnt(target) if train else []), *next_commands(target)]:
        typer.echo(f"  # {what}\n  {command}")
