"""The command line. Ends with 0 (done), 1 (the data is not what it should be) or 2 (the request is wrong).

Heavy libraries are imported by the commands that need them, so `pairmill --help` answers at once.
"""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pipelines.store_errors import as_wrong_request
from schemas.errors import PairmillError, WrongRequest

app = typer.Typer(
    name="pairmill",
    help="A table of image URLs and captions in, accounted training shards out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeArg = Annotated[str, typer.Argument(help="Recipe file (YAML).", metavar="RECIPE")]
BuildArg = Annotated[str, typer.Argument(help="Build folder: a path or an fsspec URL.", metavar="BUILD")]
OutOption = Annotated[str | None, typer.Option("--out", help="Build folder; builds/NAME when left out.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: shards.seed=1", metavar="KEY=VALUE")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]


def main() -> None:
    """Console entry: turns the errors meant for people into one line and an exit code."""
    try:
        app()
    except Exception as error:
        known = error if isinstance(error, PairmillError) else as_wrong_request(error)
        if known is None:
            raise
        typer.echo(f"pairmill: {' '.join(str(known).split())}", err=True)
        sys.exit(known.exit_code)


def _emit(data: Any) -> None:
    typer.echo(json.dumps(data, ensure_ascii=False))


def _store(url: str) -> Any:
    from stages.store import Store

    return Store(url)


def _built(url: str) -> Any:
    """The store of a build that must be there."""
    store = _store(url)
    if not store.exists("recipe.yaml"):
        raise WrongRequest(f"{url!r} is not a build folder", "give a folder that `pairmill build` or `demo` wrote")
    return store


def _out(out: str | None, name: str) -> str:
    return out or f"builds/{name}"


@app.command()
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
    loaded = _load(recipe, overrides)
    store = _store(_out(out, loaded.recipe.name))
    _watched(as_json, lambda watcher: run(loaded, store, BuildOptions(until, watcher)))
    if as_json:
        _emit({"build": store.url})
    else:
        _survival(store)


def _survival(store: Any) -> None:
    """The survival table on stdout."""
    from pipelines import stats as room

    _print(room.render(room.stats(store)))


def _load(recipe: str, overrides: list[str]) -> Any:
    from pipelines.recipe_file import load

    return load(recipe, overrides)


def _watched(as_json: bool, work: Callable[[Any], Any]) -> Any:
    """Run `work` with progress on stderr, or in silence for a machine."""
    from rich.console import Console

    from pipelines.progress import Bars, Silent

    if as_json:
        return work(Silent())
    with Bars(Console(stderr=True)) as bars:
        return work(bars)


@app.command()
def plan(recipe: RecipeArg, out: OutOption = None, settings: SetOption = None, as_json: JsonFlag = False) -> None:
    """What is stale and why, and what a build would cost. Writes nothing.

    Example: pairmill plan recipe.yaml --out builds/mine --set select.rules.low_clip.keep='clip_score >= 0.3'
    """
    from pipelines.estimate import Forecast, forecast
    from pipelines.plan import make_plan

    loaded = _load(recipe, settings or [])
    found: Forecast = forecast(make_plan(loaded, _store(_out(out, loaded.recipe.name))))
    if as_json:
        _emit(found.as_json())
    else:
        _print(found.render())


def _print(renderable: Any) -> None:
    from rich.console import Console

    # A pipe has no width: give tables room, and break no line.
    Console(width=None if sys.stdout.isatty() else 100, soft_wrap=not sys.stdout.isatty()).print(renderable)


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", help="Build folder; the sample web goes beside it.")] = "builds/demo",
    rows: Annotated[int, typer.Option(help="Rows of the sample web.", min=200)] = 1200,
    engine: Annotated[str | None, typer.Option(help="ray or local.")] = None,
    workers: Annotated[int | None, typer.Option(help="Workers per stage.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve the sample web on loopback, build from it, show what became of every row.

    Example: pairmill demo
    """
    import time

    from pipelines.build import BuildOptions
    from pipelines.demo import DemoOptions, next_commands, run_demo

    began = time.monotonic()
    options = DemoOptions(rows, engine, workers)
    if not as_json:
        typer.echo(
            f"A web of {rows:,} image-caption pairs with planted troubles, served on loopback; built into {out}\n"
        )
    _watched(as_json, lambda watcher: run_demo(out, options, BuildOptions(watcher=watcher)))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        _emit({"build": out, "seconds": seconds})
        return
    _survival(_store(out))
    typer.echo(f"\nDone in {seconds} s. Try next:\n")
    for command, what in next_commands(out):
        typer.echo(f"  # {what}\n  {command}")


@app.command()
def verify(build: BuildArg, as_json: JsonFlag = False) -> None:
    """Recompute every count and hash of a build; ends with 1 when something is not as it should be.

    Example: pairmill verify builds/demo
    """
    from pipelines.verify import verify as run

    report = run(_built(build))
    if as_json:
        _emit(report.as_json())
    else:
        for finding in report.findings:
            typer.echo(f"{finding.file}: {finding.what}")
        typer.echo(
            f"{'ok' if report.ok else 'NOT OK'}: {report.inputs:,} inputs = {report.kept:,} kept + "
            f"{report.rejected:,} rejected, {report.unaccounted:,} unaccounted, {len(report.findings)} findings"
        )
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def stats(build: BuildArg, as_json: JsonFlag = False) -> None:
    """The survival table, stage by stage, reason by reason; works on an unfinished build too.

    Example: pairmill stats builds/demo
    """
    from pipelines import stats as room

    lines = room.stats(_built(build))
    if as_json:
        _emit(room.as_json(lines))
    else:
        _print(room.render(lines))


@app.command()
def sql(
    build: BuildArg,
    query: Annotated[str, typer.Argument(help="One SELECT.", metavar="QUERY")],
    as_json: JsonFlag = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask a build in SQL. Views: samples, pool, parts, measures, groups, selection, ledger, ledger_counts, shards.

    Example: pairmill sql builds/demo "SELECT reason, count(*) FROM ledger GROUP BY ALL"
    """
    from pipelines.sql import run_sql

    run_sql(_built(build), query, "json" if as_json else "csv" if csv else "table")


@app.command()
def whatif(
    build: BuildArg,
    rule: Annotated[str | None, typer.Option(help="A condition that kept rows satisfy.")] = None,
    replace: Annotated[str | None, typer.Option(help="The rule it replaces, by reason.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A rule to leave out, by reason.")] = None,
    limit: Annotated[int, typer.Option(help="Samples to show on each side of the threshold.", min=0)] = 5,
    as_json: JsonFlag = False,
) -> None:
    """What other rules would keep. Writes nothing, loads no model.

    Example: pairmill whatif builds/demo --rule "clip_score >= 0.35"
    """
    from pipelines.recipe_file import load
    from pipelines.whatif import Change
    from pipelines.whatif import whatif as run
    from pipelines.whatif_table import render

    store = _built(build)
    recipe = _recipe_of(store, load)
    found = run(store, recipe, Change(rule, replace, tuple(drop or ())), limit)
    if as_json:
        _emit(found.as_json())
    else:
        _print(render(found))


def _recipe_of(store: Any, load: Callable[[str], Any]) -> Any:
    """The recipe that a build keeps of itself."""
    from pipelines.recipe_file import parse, validated

    name = f"{store.url}/recipe.yaml"
    return load(name).recipe if store.local else validated(parse(store.read_bytes("recipe.yaml").decode(), name), name)


@app.command()
def explain(
    build: BuildArg,
    sample: Annotated[str, typer.Argument(help="sample_id or its beginning, a URL, or SHARD/POSITION.")],
    as_json: JsonFlag = False,
) -> None:
    """One sample's whole story: pool row, fetch, measures, duplicates, decision, shard.

    Example: pairmill explain builds/demo 3f2a
    """
    from pipelines.explain import explain as run
    from pipelines.explain import story

    said = run(_built(build), sample)
    if as_json:
        _emit(said)
    else:
        typer.echo(story(said))


@app.command()
def index(
    folder: Annotated[str, typer.Argument(help="Folder or fsspec URL with .tar files.", metavar="FOLDER")],
    out: Annotated[
        str | None, typer.Option("--out", help="Where the index goes; FOLDER/.pairmill when left out.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read every tar again and compare its sha256.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Index WebDataset tars that others wrote, so that they can be streamed; reads only what is new or changed.

    Example: pairmill index data/cc12m
    """
    from dataclasses import asdict

    from pipelines.index_folder import IndexOptions, index_folder
    from pipelines.index_table import render

    found = _watched(as_json, lambda watcher: index_folder(folder, IndexOptions(out, check, watcher)))
    if as_json:
        _emit(asdict(found))
    else:
        _print(render(found))


if __name__ == "__main__":
    main()
