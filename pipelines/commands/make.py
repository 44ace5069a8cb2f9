"""`plan`, `build`, `demo`: what makes a build."""

from typing import Annotated

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
    out: Annotated[str, typer.Option("--out", help="Build folder; the sample web goes beside it.")] = "builds/demo",
    rows: Annotated[int, typer.Option(help="Rows of the sample web.", min=200)] = 1200,
    engine: Annotated[str | None, typer.Option(help="ray or local.")] = None,
    workers: Annotated[int | None, typer.Option(help="Workers per stage.")] = None,
    teacher: Annotated[str, typer.Option(help="template, or local: a real small language model.")] = "template",
    as_json: JsonFlag = False,
) -> None:
    """Serve the sample web on loopback, build from it, show what became of every row.

    Example: pairmill demo
    """
    import time

    from pipelines.demo import DemoOptions, next_commands, run_demo, speed

    began = time.monotonic()
    options = DemoOptions(rows, engine, workers, teacher)
    if not as_json:
        typer.echo(
            f"A web of {rows:,} image-caption pairs with planted troubles, served on loopback; built into {out}\n"
        )
    stages = watched(as_json, lambda watcher: run_demo(out, options, watcher))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        emit({"build": out, "seconds": seconds})
        return
    survival(store(out))
    if (rate := speed(out, stages)) is not None:
        typer.echo(rate)
    typer.echo(f"\nDone in {seconds} s. Try next:\n")
    for command, what in next_commands(out):
        typer.echo(f"  # {what}\n  {command}")
