"""Write a sample web: `pool.parquet` for the build, and apart from it the truth and the site map.

A pool row is what a web crawl would hold. What is known about it besides (which trouble was planted, how the row ought
to end, what its picture shows) goes to `truth.parquet`, row by row in the same order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sample_web.plant import BOXED, Planted, plant
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.site import SITE_FILE, write_site
from pipelines.sample_web.troubles import EXPECTED

POOL_FILE, TRUTH_FILE = "pool.parquet", "truth.parquet"
MIN_ROWS = 200

_BOX = pa.struct([pa.field("label", pa.string()), *(pa.field(name, pa.float32()) for name in "xywh")])
_TEXT, _FLAG, _LONG = pa.string(), pa.bool_(), pa.int64()
POOL_SCHEMA = pa.schema(
    [
        *(pa.field(name, _TEXT) for name in ("url", "caption", "source_id", "language", "sha256")),
        pa.field("boxes", pa.list_(_BOX)),
        pa.field("license", _TEXT),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)
TRUTH_SCHEMA = pa.schema(
    [
        pa.field("row", _LONG, nullable=False),
        pa.field("url", _TEXT),
        pa.field("caption", _TEXT),
        pa.field("trouble", _TEXT, nullable=False),
        pa.field("expected_stage", _TEXT),
        pa.field("expected_reason", _TEXT),
        pa.field("also_expected", pa.list_(_TEXT), nullable=False),
        pa.field("duplicate_group", _TEXT),
        pa.field("duplicate_kind", _TEXT),
        pa.field("swapped", _FLAG, nullable=False),
        pa.field("hard_kind", _TEXT),
        pa.field("true_caption", _TEXT),
        pa.field("scene", _TEXT),
        pa.field("scene_seed", _LONG),
        pa.field("orientation", pa.int16()),
        pa.field("edit", _TEXT),
    ]
)


@dataclass(frozen=True, slots=True)
class SampleWeb:
    """The files of one sample web."""

    folder: Path
    rows: int
    seed: int

    @property
    def pool(self) -> Path:
        return self.folder / POOL_FILE

    @property
    def truth(self) -> Path:
        return self.folder / TRUTH_FILE

    @property
    def site(self) -> Path:
        return self.folder / SITE_FILE


def write_pool(folder: Path | str, rows: int = 1200, seed: int = 7, boxed: float = BOXED) -> SampleWeb:
    """Write pool, truth and site map to `folder`; the same arguments give the same bytes.

    A share `boxed` of the rows has boxes; nothing else depends on it.
    Raises ValueError where `rows` is too few to hold each trouble once.
    """
    if rows < MIN_ROWS:
        raise ValueError(f"rows={rows} cannot hold every planted trouble; ask for at least {MIN_ROWS}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    planted = plant(rows, seed, boxed)
    pool = [_pool_row(p) for p in planted]
    truth = [_truth_row(i, p) for i, p in enumerate(planted)]
    pq.write_table(pa.Table.from_pylist(pool, POOL_SCHEMA), folder / POOL_FILE)
    pq.write_table(pa.Table.from_pylist(truth, TRUTH_SCHEMA), folder / TRUTH_FILE)
    pages = {page.url: page for p in planted for page in p.pages}
    write_site(folder, pages.values())
    return SampleWeb(folder, rows, seed)


def _pool_row(p: Planted) -> dict[str, Any]:
    return {
        "url": p.url, "caption": p.caption, "source_id": p.source_id, "language": p.language, "sha256": p.sha256,
        "boxes": p.boxes, "license": p.licence, "width": p.width, "height": p.height,
    }  # fmt: skip


def _truth_row(index: int, p: Planted) -> dict[str, Any]:
    expected = EXPECTED[p.trouble]
    scene = make_scene(p.payload.scene) if p.payload else None
    return {
        "row": index, "url": p.url, "caption": p.caption, "trouble": str(p.trouble),
        "expected_stage": expected.stage, "expected_reason": expected.reason, "also_expected": list(expected.also),
        "duplicate_group": p.group, "duplicate_kind": p.group_kind, "swapped": p.swapped,
        "hard_kind": str(p.hard_kind) if p.hard_kind else None, "true_caption": p.true_caption,
        "scene": json.dumps(scene.truth(), sort_keys=True) if scene else None,
        "scene_seed": scene.seed if scene else None,
        "orientation": p.payload.orientation if p.payload else None,
        "edit": str(p.payload.edit) if p.payload else None,
    }  # fmt: skip
