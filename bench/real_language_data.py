"""What the real language model is given: photographs with people's captions, and conversations written from boxes.

Three builds, each downloaded over loopback HTTP: `captioned` (a row for each of a photograph's captions), `boxed`
(photographs that have boxes alone), `held` (photographs that are in neither: one caption each). No picture lies in two.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.photos import Photo, labelled, serving
from pipelines.build import build
from pipelines.recipe_file import Loaded, validated
from stages.store import Store

HOST = "photos.test"
QUESTIONS = 3
"""Most questions of one conversation: a step of a language model of this size costs seconds on a CPU."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A photograph, its captions (none: boxes alone) and its boxes."""

    photo: Photo
    captions: tuple[str, ...]
    boxes: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Of a pool."""

    shown: Shown
    caption: str


def photographs(data: Path, limit: int | None = None) -> list[Shown]:
    """Of `photos.parquet`, in its order; `limit`: the first captioned ones, and as many without captions."""
    rows = pq.read_table(data / "photos.parquet", columns=["file", "captions", "boxes"]).to_pylist()
    if limit is not None:
        rows = [r for r in rows if r["captions"]][:limit] + [r for r in rows if not r["captions"]][:limit]
    return [
        Shown(
            Photo(Path(row["file"]).name, None, "", (data / row["file"]).read_bytes()),
            tuple(dict.fromkeys(said.strip() for said in row["captions"])),
            tuple(row["boxes"]),
        )
        for row in rows
    ]


def pools(shown: Sequence[Shown], held: int) -> dict[str, list[Row]]:
    """captioned, boxed and held: photographs are held by a hash of their names, among those that have captions."""
    captioned = sorted((one for one in shown if one.captions), key=lambda one: _drawn(one.photo.picture))
    kept, rest = captioned[:held], captioned[held:]
    return {
        "captioned": [Row(one, caption) for one in rest for caption in one.captions],
        # no stage reads these captions, and a pool's row has one
        "boxed": [Row(one, labelled(one.boxes)) for one in shown if not one.captions],
        "held": [Row(one, one.captions[0]) for one in kept],
    }


def build_pool(rows: Sequence[Row], vocabulary: Sequence[str], folder: Path) -> Store:
    """Build into folder/build: shards whose samples have a caption and the template teacher's conversations."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "url": [f"http://{HOST}{row.shown.photo.path}" for row in rows],
        "caption": [row.caption for row in rows],
        "boxes": [list(row.shown.boxes) for row in rows],
    }
    pq.write_table(pa.table(columns), folder / "pool.parquet")
    with serving([row.shown.photo for row in rows]) as port:
        recipe = {
            "name": "photographs",
            "pool": {"paths": [str(folder / "pool.parquet")], "columns": {"boxes": "boxes"}, "part_rows": 500},
            "download": {"connect_to": {HOST: f"127.0.0.1:{port}"}},
            "synthesize": {
                "teacher": "template",
                "vocabulary": list(vocabulary),  # COCO boxes all its labels wherever they occur
                "require": False,
                "template": {"questions": QUESTIONS},
            },
            "shards": {"max_samples": 100},
            "engine": {"kind": "local"},
        }
        store = Store(str(folder / "build"))
        build(Loaded(validated(recipe, "photographs"), str(folder)), store)
    return store


def vocabulary(shown: Sequence[Shown]) -> list[str]:
    """Every label that occurs."""
    return sorted({box["label"] for one in shown for box in one.boxes})


def _drawn(name: str) -> bytes:
    return hashlib.sha256(f"held photograph:{name}".encode()).digest()
