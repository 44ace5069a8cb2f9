"""`verify`, `stats`, `sql`, `whatif`, `explain`: what asks a build."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.terminal import BuildArg, JsonFlag, built, emit, show, survival
from schemas.errors import WrongRequest


def verify(build: BuildArg, as_json: JsonFlag = False) -> None:
    """Recompute every count and hash of a build; ends with 1 when something is not as it should be.

    Example: pairmill verify builds/demo
    """
    from pipelines.verify import verify as run

    report = run(built(build))
    if as_json:
        emit(report.as_json())
    else:
        for finding in report.findings:
            typer.echo(f"{finding.file}: {finding.what}")
        typer.echo(
            f"{'ok' if report.ok else 'NOT OK'}: {report.inputs:,} inputs = {report.kept:,} kept + "
            f"{report.rejected:,} rejected, {report.unaccounted:,} unaccounted, {len(report.findings)} findings"
        )
    if not report.ok:
        raise typer.Exit(1)


def stats(build: BuildArg, as_json: JsonFlag = False) -> None:
    """The survival table, stage by stage, reason by reason; works on an unfinished build too.

    Example: pairmill stats builds/demo
    """
    from pipelines import stats as room
    from pipelines import synthesis_stats as written

    store = built(build)
    if not as_json:
        survival(store)
        return
    synthesis = written.synthesis_summary(store)
    more = {} if synthesis is None else {"synthesis": written.as_json(synthesis)}
    emit(room.as_json(room.stats(store)) | more)


def sql(
    build: BuildArg,
    query: Annotated[str, typer.Argument(help="One SELECT.", metavar="QUERY")],
    as_json: JsonFlag = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask a build in SQL.

    Views: samples, pool, parts, measures, groups, selection, masks, conversations, dropped, final, ledger,
    ledger_counts, shards.

    Example: pairmill sql builds/demo "SELECT reason, count(*) FROM ledger GROUP BY ALL"
    """
    from pipelines.sql import run_sql

    run_sql(built(build), query, "json" if as_json else "csv" if csv else "table")


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

    store = built(build)
    recipe = _recipe_of(store, load)
    found = run(store, recipe, Change(rule, replace, tuple(drop or ())), limit)
    if as_json:
        emit(found.as_json())
    else:
        show(render(found))


def _recipe_of(store: Any, load: Callable[[str], Any]) -> Any:
    """The recipe that a build keeps of itself."""
    from pipelines.recipe_file import parse, validated

    name = f"{store.url}/recipe.yaml"
    return load(name).recipe if store.local else validated(parse(store.read_bytes("recipe.yaml").decode(), name), name)


def explain(
    build: Annotated[str, typer.Argument(help="Build folder: a path or an fsspec URL. With --step: a training run.")],
    sample: Annotated[str | None, typer.Argument(help="sample_id or its beginning, a URL, or SHARD/POSITION.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the picture with its masks: .png or .jpg.")] = None,
    step: Annotated[int | None, typer.Option(help="The samples of this training step, counted from 1.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="With --step: where a build lies now.", metavar="[NAME=]BUILD"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """One sample's whole story, or, with --step, the exact samples of a training step and where each comes from.

    Of a sample: pool row, fetch, measures, duplicates, masks, conversations, decision, shard. Of a step: loss and label
    tokens of each conversation, its sample's URL, caption, measures and rules, teacher and prompt, what was rejected.

    Example: pairmill explain builds/demo 3f2a

    Example: pairmill explain --step 40 runs/demo
    """
    if step is not None:
        _explain_step(build, step, data, as_json, alone=sample is None and picture is None)
        return
    if sample is None:
        raise WrongRequest("no sample is named", "give a sample_id, a URL or SHARD/POSITION; or --step N and a run")
    if data:
        raise WrongRequest("--data is about the builds of a training run", "give --step N and a run, or leave it out")
    from pipelines.explain import explain as run
    from pipelines.explain import story

    store = built(build)
    said = run(store, sample)
    if picture is not None:
        from pipelines.explain_picture import draw

        draw(store, said, picture)
    if as_json:
        emit(said)
    else:
        typer.echo(story(said))


def _explain_step(run: str, step: int, data: list[str] | None, as_json: bool, alone: bool) -> None:
    from pipelines.train.lineage.step import explain_step
    from pipelines.train.lineage.story import story

    if not alone:
        raise WrongRequest("--step tells of a whole step", "leave sample and --picture out")
    said = explain_step(run, step, data)
    if as_json:
        emit(said)
    else:
        typer.echo(story(said), nl=False)
