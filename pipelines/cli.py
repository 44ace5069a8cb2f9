"""The command line. Ends with 0 (done), 1 (the data is not what it should be) or 2 (the request is wrong).

Heavy libraries are imported by the commands that need them, so `pairmill --help` answers at once.
"""

import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import typer

from pipelines.commands.ask import explain, sql, stats, verify, whatif
from pipelines.commands.index import index
from pipelines.commands.make import build, demo, plan
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
        "export": export,
        "index": index,
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
    """Console entry: turns the errors meant for people into one line and an exit code."""
    try:
        app()
    except Exception as error:
        known = error if isinstance(error, PairmillError) else as_wrong_request(error)
        if known is None:
            raise
        typer.echo(f"pairmill: {' '.join(str(known).split())}", err=True)
        sys.exit(known.exit_code)


if __name__ == "__main__":
    main()
