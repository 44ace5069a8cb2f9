"""The site map: which URL answers how. Written beside the pool, read by the server, never seen by a build."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from pipelines.sample_web.payloads import Edit, Encoding, Payload

SITE_FILE = "site.jsonl"


class Behaviour(StrEnum):
    """How the server answers a page."""

    image = "image"
    image_as_html = "image_as_html"
    image_noai = "image_noai"
    status = "status"
    recovering = "recovering"
    redirect = "redirect"
    reset = "reset"
    truncated = "truncated"
    html_as_jpeg = "html_as_jpeg"
    html = "html"
    empty = "empty"
    endless = "endless"
    oversize = "oversize"
    drip = "drip"
    never = "never"
    bomb_header = "bomb_header"
    bomb_zlib = "bomb_zlib"
    svg = "svg"
    one_pixel = "one_pixel"
    tiny = "tiny"


@dataclass(frozen=True, slots=True)
class Page:
    """One URL. `status` and `location` serve the behaviours that need them; `payload` the ones with a picture."""

    url: str
    behaviour: Behaviour
    payload: Payload | None = None
    status: int = 200
    location: str | None = None


def write_site(folder: Path, pages: Iterable[Page]) -> None:
    lines = (json.dumps(asdict(page), separators=(",", ":")) for page in pages)
    (folder / SITE_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_site(folder: Path) -> dict[str, Page]:
    """Pages by URL. Raises FileNotFoundError where `write_pool` has not run."""
    pages: dict[str, Page] = {}
    for line in (folder / SITE_FILE).read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        made = raw["payload"]
        payload = None
        if made is not None:
            payload = Payload(made["scene"], Encoding(made["encoding"]), Edit(made["edit"]), made["orientation"])
        page = Page(raw["url"], Behaviour(raw["behaviour"]), payload, raw["status"], raw["location"])
        pages[page.url] = page
    return pages
