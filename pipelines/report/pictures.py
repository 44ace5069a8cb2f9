"""The pictures of a page: stored bytes → pixels as shown → a small JPEG inside the page.

Only the parts that hold a wanted sample are read, in batches of rows and by byte range.
"""

import base64
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from pipelines.report.markup import Markup, line, tag
from schemas.errors import WrongData
from stages.ahead import ahead
from stages.families import part_file
from stages.measure.decode import Undecodable, decode
from stages.payload import read_range
from stages.store import Store

THUMB, THUMB_BYTES = 160, 9_000
"""Pixels of the longer side, and bytes of the JPEG, at most."""
LARGE, LARGE_BYTES = 384, 40_000
CAPTION = 140
_QUALITIES = (82, 70, 55, 40, 25, 10)
_ROWS = 1024


class Place(NamedTuple):
    """Where a sample's rows lie in every family."""

    part: int
    row: int
    sample_id: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample to be looked at."""

    sample_id: str
    caption: str
    """One line, cut; empty where there is none."""
    rgb: np.ndarray | None
    """uint8, height × width × 3, as shown; None: there is none, and `why` says so."""
    why: str = ""


Draw = Callable[[Place, np.ndarray], np.ndarray]
"""A picture as shown, uint8 (height, width, 3) → what is kept of it; few are in memory as large as they are stored."""


def rows_of(
    store: Store, family: str, part: int, rows: Collection[int], columns: list[str]
) -> dict[int, dict[str, Any]]:
    """Some rows of one family file, by row; memory: some batches of rows, whatever the part holds.

    Raises WrongData for a file that is missing."""
    wanted, found, start = sorted(rows), dict[int, dict[str, Any]](), 0
    with store.open(part_file(family, part)) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS, columns=columns):
            inside = [row for row in wanted if start <= row < start + batch.num_rows]
            found |= {row: batch.slice(row - start, 1).to_pylist()[0] for row in inside}
            start += batch.num_rows
            if wanted and start > wanted[-1]:
                break
    return found


def by_part(places: Iterable[Place]) -> dict[int, list[Place]]:
    """The places of each part, in order."""
    parts = defaultdict[int, list[Place]](list)
    for place in sorted(set(places)):
        parts[place.part].append(place)
    return dict(parts)


def look(store: Store, places: Iterable[Place], draw: Draw | None = None) -> dict[str, Shown]:
    """The samples at `places` by their sample_id, each picture as `draw` makes it: by default, at most THUMB pixels."""
    drawn = draw or (lambda _, rgb: scaled(rgb, THUMB))

    def one(part: tuple[int, list[Place]]) -> list[Shown]:
        return list(_part(store, part[0], part[1], drawn))

    found = ahead(one, by_part(places).items())
    return {shown.sample_id: shown for part in found for shown in part}


def _part(store: Store, part: int, places: list[Place], draw: Draw) -> Iterator[Shown]:
    rows = [place.row for place in places]
    pool = rows_of(store, "pool", part, rows, ["caption"])
    index = rows_of(store, "parts", part, rows, ["member", "offset", "size", "orientation"])
    tar = f"parts/{part:05d}.tar"
    there = store.exists(tar)
    for place in places:
        caption = line(pool[place.row]["caption"] or "", CAPTION)
        of = index[place.row]
        if of["member"] is None or not there:
            yield Shown(place.sample_id, caption, None, "no picture" if there else f"{tar} is missing")
            continue
        try:
            with store.open(tar) as file:
                rgb = decode(read_range(file, of["offset"], of["size"]), of["orientation"]).rgb
        except (Undecodable, EOFError, WrongData) as error:
            yield Shown(place.sample_id, caption, None, line(f"cannot be shown: {error}", 80))
            continue
        yield Shown(place.sample_id, caption, draw(place, rgb))


def scaled(rgb: np.ndarray, side: int) -> np.ndarray:
    """At most `side` pixels on its longer side, at least one on the other; never enlarged."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return rgb if scale == 1.0 else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def data_url(rgb: np.ndarray, most: int) -> str:
    """A JPEG of at most `most` bytes: as good as fits, or, where nothing does, as bad as there is."""
    import simplejpeg

    data = b""
    for quality in _QUALITIES:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=quality, colorsubsampling="420")
        if len(data) <= most:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def tile(shown: Shown, head: str | None = None, note: str | None = None) -> Markup:
    """A sample's picture with `head` (bold), its caption and its id under it."""
    if shown.rgb is None:
        picture = tag("div", tag("span", shown.why), class_="frame none")
    else:
        height, width = shown.rgb.shape[:2]
        alt, url = shown.caption or "a picture without a caption", data_url(shown.rgb, THUMB_BYTES)
        picture = tag("div", tag("img", src=url, alt=alt, width=width, height=height), class_="frame")
    return tag(
        "figure",
        picture,
        tag(
            "figcaption",
            tag("b", head) if head else None,
            tag("span", note, class_="note") if note else None,
            tag("span", shown.caption, class_="said", dir="auto") if shown.caption else None,
            tag("code", shown.sample_id[:12]),
        ),
        class_="tile",
    )
