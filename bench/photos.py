"""Real photographs: a build from COCO pictures over loopback HTTP, with planted near duplicates.

Each picture is served with four copies under other URLs: re-encoded at quality 60, half the size, cropped by 4 %,
brighter by 20 %. Scored: the share of copies that end in their original's duplicate group, by kind of edit, and the
pairs of different pictures that share a group.

    uv run python -m bench photos --data ../shared/data
"""

import argparse
import io
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness import report
from pipelines.build import build
from pipelines.recipe_file import Loaded, validated
from pipelines.verify import verify
from stages.store import Store

EDITS = ("reencoded_q60", "half_size", "cropped_4", "brighter")


@dataclass(frozen=True, slots=True)
class Photo:
    """One URL of the pool: which picture it shows, and how it was edited (None: the original file)."""

    picture: str
    edit: str | None
    caption: str
    data: bytes

    @property
    def path(self) -> str:
        return f"/{self.edit or 'original'}/{self.picture}"


def photos(data: Path, limit: int | None = None) -> list[Photo]:
    """Originals and their edited copies."""
    rows = pq.read_table(data / "photos.parquet", columns=["file", "captions", "boxes"]).to_pylist()
    out: list[Photo] = []
    for row in rows[:limit]:
        name, raw = Path(row["file"]).name, (data / row["file"]).read_bytes()
        caption = row["captions"][0] if row["captions"] else labelled(row["boxes"])
        out.append(Photo(name, None, caption, raw))
        out += [Photo(name, edit, caption, edited(raw, edit)) for edit in EDITS]
    return out


def labelled(boxes: Sequence[Mapping[str, Any]]) -> str:
    """A caption for a photograph that has none."""
    return "a photograph of " + (", ".join(sorted({box["label"] for box in boxes})) or "a scene")


def edited(raw: bytes, edit: str) -> bytes:
    """The picture as another site would serve it: JPEG of quality 90 but where the edit is the quality."""
    from PIL import Image, ImageEnhance

    image = Image.open(io.BytesIO(raw)).convert("RGB")
    w, h = image.size
    if edit == "half_size":
        image = image.resize((w // 2, h // 2), Image.Resampling.LANCZOS)
    elif edit == "cropped_4":
        image = image.crop((round(w * 0.02), round(h * 0.02), round(w * 0.98), round(h * 0.98)))
    elif edit == "brighter":
        image = ImageEnhance.Brightness(image).enhance(1.2)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=60 if edit == "reencoded_q60" else 90)
    return out.getvalue()


@contextmanager
def serving(served: list[Photo]) -> Iterator[int]:
    """A loopback server for the photographs; yields its port."""
    by_path = {p.path: p.data for p in served}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = by_path.get(self.path)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: the build keeps its own log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def build_photos(served: list[Photo], folder: Path, engine: str = "local") -> Store:
    """Build from the served photographs into folder/build."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = {"url": [f"http://photos.test{p.path}" for p in served], "caption": [p.caption for p in served]}
    pq.write_table(pa.table(pool), folder / "pool.parquet")
    with serving(served) as port:
        recipe = validated(
            {
                "name": "photographs",
                "pool": {"paths": [str(folder / "pool.parquet")], "part_rows": 500},
                "download": {"connect_to": {"photos.test": f"127.0.0.1:{port}"}},
                "measure": {"pdq": {}},
                "dedup": {"near": {}},
                "select": {
                    "rules": [{"reason": "too_small", "keep": "least(width, height) >= 64"}],
                    "best": ["width * height desc", "image_bytes desc"],
                },
                "shards": {"max_samples": 100},
                "engine": {"kind": engine},
            },
            "photographs",
        )
        store = Store(str(folder / "build"))
        build(Loaded(recipe, str(folder)), store)
    return store


@dataclass(frozen=True, slots=True)
class Score:
    """How the planted copies were found."""

    recall: dict[str, float]
    """Edit → share of copies in their original's group."""
    false_pairs: int
    """Pairs of different pictures in one group."""
    pictures: int


def score(store: Store, served: list[Photo]) -> Score:
    """Compare groups/duplicates.parquet with what was planted."""
    members = store.read_table("groups/duplicates.parquet", ["sample_id", "group"]).to_pylist()
    group = {m["sample_id"]: m["group"] for m in members}
    rows: list[dict[str, Any]] = []
    for name in store.listing("pool"):
        rows += store.read_table(name, ["sample_id", "url"]).to_pylist()
    groups = {r["url"].removeprefix("http://photos.test"): group.get(r["sample_id"]) for r in rows}
    found: Counter[str] = Counter()
    originals = {p.picture: groups[p.path] for p in served if p.edit is None}
    for photo in served:
        if photo.edit and groups[photo.path] is not None and groups[photo.path] == originals[photo.picture]:
            found[photo.edit] += 1
    together: dict[str, set[str]] = {}
    for photo in served:
        if (name := groups[photo.path]) is not None:
            together.setdefault(name, set()).add(photo.picture)
    false_pairs = sum(len(list(combinations(pictures, 2))) for pictures in together.values())
    return Score({e: found[e] / len(originals) for e in EDITS}, false_pairs, len(originals))


def run(args: list[str]) -> None:
    """Command of `python -m bench photos`."""
    parser = argparse.ArgumentParser(prog="bench photos")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--engine", default="local", choices=["local", "ray"])
    options = parser.parse_args(args)
    served = photos(options.data, options.limit)
    with tempfile.TemporaryDirectory() as folder:
        store = build_photos(served, Path(folder), options.engine)
        found, checked = score(store, served), verify(store)
    lines = [{"edit": e, "copies": found.pictures, "recall": round(r, 4)} for e, r in found.recall.items()]
    account = {"inputs": checked.inputs, "kept": checked.kept, "rejected": checked.rejected, "verify": checked.ok}
    report("photos", lines, {"false_pairs": found.false_pairs, "pictures": found.pictures, **account})
