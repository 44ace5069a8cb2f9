"""`pairmill export` on the command line."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.export import Exported


def export(  # noqa: PLR0913, PLR0917  an option is a parameter
    build: Annotated[str, typer.Argument(help="Build folder: a path or an fsspec URL.", metavar="BUILD")],
    out: Annotated[Path, typer.Option("--out", help="New or empty folder.", metavar="FOLDER")],
    format: Annotated[str, typer.Option("--format", help="llava, sharegpt, messages, or coco (masks).")] = "llava",
    images: Annotated[bool, typer.Option("--images", help="Copy the pictures out of the shards.")] = False,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated.")] = None,
    captions: Annotated[bool, typer.Option("--captions", help="Samples without conversation: their caption.")] = False,
    all_masks: Annotated[bool, typer.Option("--all-masks", help="Format coco: not only the best per prompt.")] = False,
    pictures: Annotated[str, typer.Option(help="Format messages: list, path or data (data URLs).")] = "list",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")] = False,
) -> None:
    """Conversations as LLaVA, LLaMA-Factory, TRL and Axolotl read them; masks as COCO's tools do.

    Example: pairmill export builds/demo --format llava --images --out exports/demo
    """
    from dataclasses import asdict

    from rich.console import Console

    from pipelines.export import ExportOptions
    from pipelines.export import export as run
    from pipelines.progress import Bars, Silent
    from stages.store import Store

    asked = {"images": images, "kinds": tuple(kind or ()), "captions": captions, "pictures": pictures}
    asked["all_masks"] = all_masks
    if as_json:
        said = run(Store(build), format, out, ExportOptions(**asked, watcher=Silent()))
        typer.echo(json.dumps(asdict(said), ensure_ascii=False, sort_keys=True))
        return
    with Bars(Console(stderr=True)) as bars:
        said = run(Store(build), format, out, ExportOptions(**asked, watcher=bars))
    sys.stdout.write(told(said, out, images or pictures == "data"))


def told(said: "Exported", out: Path, with_pictures: bool) -> str:
    """What an export did, for a person."""
    lines = [f"{out / name}: {count:,} records" for name, count in sorted(said.records.items())]
    lines.append(
        ("prompts: " if said.format == "coco" else "kinds: ")
        + ", ".join(f"{kind} {count:,}" for kind, count in sorted(said.kinds.items()))
    )
    if said.left:
        lines.append("left out: " + ", ".join(f"{why} {count:,}" for why, count in sorted(said.left.items())))
    if said.images:
        lines.append(f"{out / 'images'}: {said.images:,} pictures")
    elif not with_pictures:
        lines.append("paths are images/SHARD/KEY.EXT, member KEY.EXT of SHARD.tar; --images copies the pictures")
    if said.turned:
        lines.append(f"{said.turned:,} records have a picture whose EXIF orientation is still to be applied")
    return "\n".join(lines) + "\n"
