"""`chat`, `evaluate`: what asks a trained model."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipelines.show import safe
from pipelines.terminal import JsonFlag, emit, show
from schemas.errors import WrongRequest

if TYPE_CHECKING:
    from pipelines.train.evaluate.trained import Trained

T = TypeVar("T")

RunArg = Annotated[str, typer.Argument(help="A training run, or the folder of a saved model.", metavar="RUN")]
StageOption = Annotated[str | None, typer.Option(help="The model after this stage; by default the last one done.")]
TemplateOption = Annotated[
    str | None, typer.Option(help="vicuna, chatml, plain, or a Jinja chat template; by default as trained.")
]
TokensOption = Annotated[int, typer.Option(help="Tokens of an answer at most.", min=1)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def chat(
    model: RunArg,
    image: Annotated[Path, typer.Argument(help="A picture: JPEG, PNG, WebP …", metavar="IMAGE")],
    question: Annotated[str | None, typer.Argument(help="Asked once. Left out: one a line, from stdin.")] = None,
    stage: StageOption = None,
    max_new_tokens: TokensOption = 128,
    template: TemplateOption = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Talk to a trained model about a picture.

    Without QUESTION, questions come from stdin; what was said is kept, and an empty line ends. Always the most probable
    answer: the same question gets the same one. --json prints {question, answer, ended, why} on a line for each.

    Example: pairmill chat runs/demo picture.jpg "What is in the picture?"
    """
    from pipelines.train.evaluate.dialogue import Dialogue, picture_of, refusal
    from pipelines.train.evaluate.generate import Asker

    picture = picture_of(image)
    found = _trained(model, stage, device)
    dialogue = Dialogue(Asker(found.built, found.asking(max_new_tokens=max_new_tokens, template=template)), picture)
    code = 0
    for asked in _lines() if question is None else [question]:
        answer = dialogue.ask(asked)
        if as_json:
            emit({"question": asked, "answer": answer.text, "ended": answer.ended, "why": answer.why})
        elif answer.why is None:
            typer.echo("\n".join(safe(line) for line in answer.text.split("\n")))
            if not answer.text:
                typer.echo("(the model says nothing)", err=True)
        if answer.why is not None:
            error = refusal(answer.why)
            typer.echo(f"pairmill: {error}", err=True)
            code = error.exit_code
    if code:
        raise typer.Exit(code)


def evaluate(
    model: RunArg,
    builds: Annotated[
        list[str] | None, typer.Argument(help="Builds with a held-out split; the run's own.", metavar="[BUILD]...")
    ] = None,
    split: Annotated[str, typer.Option(help="The split that was kept from training.")] = "val",
    benchmark: Annotated[
        str | None, typer.Option(help="In the place of builds: vqav2, gqa, textvqa, pope, mmbench, mmmu.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="The benchmark's folder, as it was unpacked, or its file of questions.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="The benchmark's pictures, where they lie elsewhere.")] = None,
    most: Annotated[int | None, typer.Option(help="At most so many samples, or questions; drawn by id.", min=1)] = None,
    stage: StageOption = None,
    max_new_tokens: TokensOption = 128,
    batch_size: Annotated[int, typer.Option(help="Conversations at once.", min=1)] = 8,
    template: TemplateOption = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """How good a trained model is: on what builds kept from training, or on a benchmark's files.

    Of a build: the loss of its held-out conversations, by kind; and the answers to their questions, by kind, beside the
    most frequent answer and the same model shown other pictures. Of a benchmark: its own score.

    Example: pairmill evaluate runs/demo builds/demo

    Example: pairmill evaluate runs/demo --benchmark pope --files benchmarks/pope
    """
    if benchmark is None and (files is not None or images is not None):
        raise WrongRequest("--files and --images are a benchmark's", "name it: --benchmark pope")
    if benchmark is not None and (builds or files is None):
        raise WrongRequest(
            f"--benchmark {benchmark} " + ("and a build" if builds else "without its files"),
            "give --files FOLDER, and no build",
        )
    settings = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "template": template}
    if benchmark is not None and files is not None:
        from pipelines.train.evaluate.files.finding import files_in

        lying = files_in(benchmark, files, images)
        _benchmark(_trained(model, stage, device), benchmark, (lying, most, settings), as_json)
        return
    from pipelines.train.evaluate.kept_out import Asked

    asked = Asked(tuple(builds or ()), split, most, settings)
    _kept_out(_trained(model, stage, device), asked, as_json)


def _kept_out(model: "Trained", asked: Any, as_json: bool) -> None:
    from pipelines.train.evaluate.kept_out import as_json as told
    from pipelines.train.evaluate.kept_out import kept_out
    from pipelines.train.evaluate.table import loss_table, table

    found = kept_out(model, asked, _look)
    if as_json:
        emit(told(found, model, asked))
        return
    show(loss_table(f"Held-out loss, split {asked.split}", found.loss.rows))
    for name, rows in found.answers.items():
        typer.echo()
        show(table(f"Answers, {safe(name)}", rows))
    typer.echo()
    for line in found.notes:
        typer.echo(safe(line))


def _benchmark(model: "Trained", name: str, asked: tuple[Any, int | None, dict[str, Any]], as_json: bool) -> None:
    from pipelines.train.evaluate.benchmarks import asked_of, benchmark_rows
    from pipelines.train.evaluate.table import document, table

    lying, most, settings = asked
    rows = benchmark_rows(model.built, name, asked_of(name, lying, most), model.asking(**settings), _look)
    if as_json:
        emit({"stage": None if model.stage is None else model.stage.name, **document({name: rows})})
    else:
        show(table(name, rows))


def _trained(name: str, stage: str | None, device: str) -> "Trained":
    import transformers

    from pipelines.train.evaluate.trained import trained

    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    return trained(name, stage, device)


def _lines() -> Iterator[str]:
    """Questions from stdin, until there is no more or one is empty."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  # input() edits its line with it

        lines = iter(lambda: input("> "), "")
    else:
        lines = (line.decode("utf-8", "replace") for line in sys.stdin.buffer)
    try:
        for line in lines:
            if not line.strip():
                return
            yield line.strip()
    except EOFError:
        return


def _look(passing: Iterable[T]) -> Iterator[T]:
    """Counts what passes, on stderr, where a person looks."""
    if not sys.stderr.isatty():
        yield from passing
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} done"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        for one in passing:
            bar.advance(task, len(one) if isinstance(one, list) else 1)
            yield one
