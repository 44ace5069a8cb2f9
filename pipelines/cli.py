"""The command line. Ends with 0 (done), 1 (the data is not what it should be) or 2 (the request is wrong).

Heavy libraries are imported by the commands that need them, so `pairmill --help` answers at once.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NoReturn

import typer

from pipelines.commands.ask import explain, sql, stats, verify, whatif
from pipelines.commands.index import index
from pipelines.commands.learn import chat, evaluate
from pipelines.commands.make import build, demo, plan
from pipelines.commands.report import report
from pipelines.commands.train import train
from pipelines.exports.command import export
from pipelines.store_errors import as_wrong_request
from schemas.errors import PairmillError

COMMANDS: MappingProxyType[str, Callable[..., Any]] = MappingProxyType(
    {
        "demo": demo,
        "plan": plan,
        "build": build,
        "verify": verify,
        "stats": stats,
        "sql": sql,
        "whatif": whatif,
        "explain": explain,
        "report": report,
        "export": export,
        "index": index,
        "train": train,
        "evaluate": evaluate,
        "chat": chat,
    }
)
"""In the order in which --help lists them."""

app = typer.Typer(
    name="pairmill",
    help="A table of image URLs and captions in, accounted training shards out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Turns the errors meant for people into one line and an exit code."""
    try:
        app()
    except Exception as error:
        known = error if isinstance(error, PairmillError) else as_wrong_request(error)
        if known is None:
            raise
        typer.echo(f"pairmill: {' '.join(str(known).split())}", err=True)
        sys.exit(known.exit_code)


def console() -> None:
    """Console entry: `main` in a process of its own."""
    try:
        main()
    except SystemExit as ended:  # typer ends so, too
        leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    leave(0)


def leave(code: int) -> NoReturn:
    """End this process with `code`, all but the interpreter's own teardown.

    A thread of Arrow's pools that lets go of a Python object then wants the interpreter's lock, gets none, and aborts
    the process: a build that was done ended with SIGABRT, once in some hundred (apache/arrow issue 34314).
    """
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  what the teardown does first: threads, pools
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or a pipe that nobody reads
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    console()
