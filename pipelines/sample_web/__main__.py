"""Serve a sample web from a process of its own: `python -m pipelines.sample_web FOLDER --port-file F`.

FOLDER is what `write_pool` wrote (`--rows` and `--seed` write it first where it is empty). F receives one JSON object,
{"port", "connect_to"}, once the server listens. Ends on SIGTERM, SIGINT or after `--lifetime` seconds.
"""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from pipelines.sample_web.pool import write_pool
from pipelines.sample_web.server import SampleWebServer
from pipelines.sample_web.site import SITE_FILE


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the sample web.")],
    port_file: Annotated[Path | None, typer.Option(help="Where to write port and connect_to.")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    rows: Annotated[int, typer.Option(help="Rows of the pool, where it is still to be written.")] = 1200,
    seed: Annotated[int, typer.Option(help="Seed of the pool, likewise.")] = 7,
    lifetime: Annotated[float, typer.Option(help="Seconds after which the server ends by itself.")] = 3600.0,
) -> None:
    if not (folder / SITE_FILE).exists():
        write_pool(folder, rows, seed)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with SampleWebServer(folder, port) as server:
        said = json.dumps({"port": server.port, "connect_to": server.connect_to})
        if port_file is not None:
            draft = port_file.with_name(port_file.name + ".draft")
            draft.write_text(said + "\n", encoding="utf-8")
            draft.replace(port_file)
        print(said, flush=True)
        ended.wait(lifetime)


if __name__ == "__main__":
    typer.run(main)
