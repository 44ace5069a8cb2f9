"""`report`: a build as a page."""

from pathlib import PurePath
from typing import Annotated, Any

import typer

from pipelines.terminal import BuildArg, JsonFlag, built, emit, store
from schemas.errors import WrongRequest


def report(
    build: BuildArg,
    out: Annotated[
        str | None, typer.Option("--out", help="The page: a path or an fsspec URL; BUILD-report.html when left out.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """A build as one self-contained HTML page: survival, rules, duplicates, masks, conversations, with pictures.

    Example: pairmill report builds/demo
    """
    from pipelines.report.page import page

    of = built(build)
    target = out or _beside(of)
    folder, name = _target(of, target)
    data = page(of)
    folder.write_bytes(name, data)
    if as_json:
        emit({"report": target, "bytes": len(data)})
    else:
        typer.echo(f"{target} ({len(data) / 1e6:.2f} MB)")


def _beside(of: Any) -> str:
    """`builds/demo-report.html` for `builds/demo`."""
    named = PurePath(of.url).name not in ("", ".", "..")
    return f"{of.url if named else of.root}-report.html"


def _target(of: Any, target: str) -> tuple[Any, str]:
    """The store of the folder that the page goes into, and its name there. Raises WrongRequest."""
    above, slash, name = target.rpartition("/")
    if not name or name in (".", ".."):
        raise WrongRequest(f"--out {target!r} names no file", "give the page a name, e.g. report.html")
    folder = store(above + slash if slash else ".")
    full = folder.path(name)
    if folder.fs.protocol == of.fs.protocol and f"{full}/".startswith(f"{of.root}/"):
        raise WrongRequest(f"--out {target!r} is inside the build", "the manifest lists all of it; write beside it")
    if folder.fs.isdir(full):
        raise WrongRequest(f"--out {target!r} is a folder", "give the page a name in it")
    return folder, name
