"""What a person sees while a build runs; a machine sees nothing but the end."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Watcher(Protocol):
    """Is told what happens."""

    def start(self, stage: str, total: int | None, skipped: int = 0) -> None:
        """`total` parts to do (None: not known ahead), `skipped` already done."""
        ...

    def advance(self, stage: str, rows: int, kept: int) -> None: ...
    def finish(self, stage: str, note: str = "") -> None: ...


class Silent:
    """For machines and tests."""

    def start(self, stage: str, total: int | None, skipped: int = 0) -> None: ...
    def advance(self, stage: str, rows: int, kept: int) -> None: ...
    def finish(self, stage: str, note: str = "") -> None: ...


class Bars:
    """One line per stage, on stderr; plain lines when nobody looks at a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, int] = {}
        self._counts: dict[str, list[int]] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def start(self, stage: str, total: int | None, skipped: int = 0) -> None:
        note = f"{skipped} already done" if skipped else ""
        self._counts[stage] = [0, 0]
        if self._console.is_terminal:
            whole = None if total is None else total + skipped
            self._tasks[stage] = self._progress.add_task(stage, total=whole, completed=skipped, note=note)
        else:
            self._console.print(f"{stage:<11} {'…' if total is None else total} to do {note}", highlight=False)

    def advance(self, stage: str, rows: int, kept: int) -> None:
        counts = self._counts[stage]
        counts[0] += rows
        counts[1] += kept
        if self._console.is_terminal:
            note = f"{counts[1]:,} of {counts[0]:,} rows kept"
            self._progress.update(self._tasks[stage], advance=1, note=note)  # pyright: ignore[reportArgumentType]

    def finish(self, stage: str, note: str = "") -> None:
        rows, kept = self._counts[stage]
        text = note or (f"{kept:,} of {rows:,} rows kept" if rows else "nothing to do")
        if self._console.is_terminal:
            task = self._tasks[stage]
            total = self._progress.tasks[task].total or 1
            self._progress.update(task, total=total, completed=total, note=text)  # pyright: ignore[reportArgumentType]
        else:
            self._console.print(f"{stage:<11} {text}", highlight=False)
