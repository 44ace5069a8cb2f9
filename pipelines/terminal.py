"""What the commands share: options, the build they are about, progress, what they print."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from schemas.errors import WrongRequest

RecipeArg = Annotated[str, typer.Argument(help="Recipe file (YAML).", metavar="RECIPE")]
BuildArg = Annotated[str, typer.Argument(help="Build folder: a path or an fsspec URL.", metavar="BUILD")]
OutOption = Annotated[str | None, typer.Option("--out", help="Build folder; builds/NAME when left out.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: shards.seed=1", metavar="KEY=VALUE")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]


def emit(data: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def store(url: str) -> Any:
    """The store at a path or URL."""
    from stages.store import Store

    return Store(url)


def built(url: str) -> Any:
    """The store of a build that must be there."""
    found = store(url)
    if not found.exists("recipe.yaml"):
        raise WrongRequest(f"{url!r} is not a build folder", "give a folder that `pairmill build` or `demo` wrote")
    return found


def out_of(out: str | None, name: str) -> str:
    """The build folder that `--out` says, or that of the recipe's name."""
    return out or f"builds/{name}"


def survival(built: Any) -> None:
    """The survival table on stdout; and what was written, by whom and for how much."""
    from pipelines import stats as room
    from pipelines import synthesis_stats as written

    show(room.render(room.stats(built)))
    synthesis = written.synthesis_summary(built)
    if synthesis is not None:
        typer.echo()
        show(written.render(synthesis))


def load(recipe: str, overrides: list[str]) -> Any:
    """A recipe file with its overrides."""
    from pipelines.recipe_file import load

    return load(recipe, overrides)


def watched(as_json: bool, work: Callable[[Any], Any]) -> Any:
    """Run `work` with progress on stderr, or in silence for a machine."""
    from rich.console import Console

    from pipelines.progress import Bars, Silent

    if as_json:
        return work(Silent())
    with Bars(Console(stderr=True)) as bars:
        return work(bars)


def show(renderable: Any) -> None:
    """A table on stdout."""
    from rich.console import Console

    # A pipe has no width: give tables room, and break no line.
    Console(width=None if sys.stdout.isatty() else 100, soft_wrap=not sys.stdout.isatty()).print(renderable)
