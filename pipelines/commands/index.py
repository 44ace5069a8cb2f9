"""`index`: tars that others wrote."""

from typing import Annotated

import typer

from pipelines.terminal import JsonFlag, emit, show, watched


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

    found = watched(as_json, lambda watcher: index_folder(folder, IndexOptions(out, check, watcher)))
    if as_json:
        emit(asdict(found))
    else:
        show(render(found))
