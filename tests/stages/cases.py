"""What the stage laws need to know of each stage: how to make it, rows it keeps, and rows that try to break it.

A new stage is registered in stages/registry.py and gets a case here; test_laws.py fails until it has one.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from schemas.masks_config import MaskRules, MasksConfig
from schemas.recipe import CaptionConfig, ClipConfig, DownloadConfig, ImageConfig, PdqConfig
from schemas.row import Row
from schemas.synthesize import How, SynthesizeConfig, TemplateConfig
from stages.base import Stage
from stages.download.stage import Download
from stages.masks.rules import JudgeMasks
from stages.masks.stage import FindMasks
from stages.measure.registry import make
from stages.synthesize.stage import Synthesize
from tests.stages.download.hostile import HostileServer, answer, raw, redirect
from tests.stages.measure.builders import encoded, picture, tiny_clip

Cells = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One stage under the laws."""

    make: Callable[[], Stage]
    good: Callable[[int], Cells]
    """Cells of a row that is kept; the number makes it different from others."""
    bad: Cells
    """Cells of a row that is rejected."""
    any_row: st.SearchStrategy[Cells]
    """Rows of every kind, hostile ones among them."""
    tolerance: float = 0.0
    """By how much floats may differ when a row is alone and when it is in a batch; 0: not at all."""


def batch_of(accepts: type[Row], rows: list[Cells], first: int = 0) -> pa.Table:
    """Rows as the stage accepts them, with what else their cells name; sample_id is the row's number from `first`."""
    plain = {"source": "pool.parquet", "source_row": 0, "url": "http://web.test/0.jpg", "orientation": 1}
    cells = [{**plain, **row, "sample_id": f"{first + i:032x}"} for i, row in enumerate(rows)]
    columns = {f.name: pa.array([c.get(f.name) for c in cells], f.type) for f in accepts.arrow_schema()}
    return pa.table(columns).cast(accepts.arrow_schema())


@contextmanager
def cases(folder: Path) -> Iterator[dict[str, Case]]:
    """Stage name → case. A loopback server runs meanwhile."""
    clip = tiny_clip(folder / "clip")
    with HostileServer() as server:
        yield {
            "download": download_case(server),
            "measure/image": pixel_case(lambda: make("image", ImageConfig())),
            "measure/caption": Case(
                lambda: make("caption", CaptionConfig()),
                lambda i: {"caption": f"cat {i}"},
                {"caption": None},
                CAPTIONED,
            ),
            "measure/pdq": pixel_case(lambda: make("pdq", PdqConfig())),
            "synthesize": Case(synthesize, good_boxes, {"boxes": None, "caption": "no boxes"}, DESCRIBED),
            "masks": masks_case(),
            "masks/rules": masks_rules_case(),
            "measure/clip": pixel_case(lambda: make("clip", ClipConfig(model=clip, batch_size=3)), tolerance=2e-3),
        }


# ---------------------------------------------------------------- measures

CAPTIONS = (
    st.none() | st.text(max_size=80) | st.sampled_from(["a cat", "", "<end_of_text>", "猫" * 300, "\x00", "a\n\tb"])
)
CAPTIONED = st.fixed_dictionaries({"caption": CAPTIONS})


def good_pixels(number: int) -> Cells:
    return {"image": encoded(picture(20 + number, 24, seed=number)), "caption": f"picture {number}"}


def hostile_image(seed: int) -> bytes:
    """Whole, cut short, mutated, or nothing of an image at all."""
    rng = random.Random(seed)
    fmt = rng.choice(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
    data = bytearray(encoded(picture(rng.randrange(1, 40), rng.randrange(1, 40), seed), fmt))
    match rng.randrange(4):
        case 0:
            del data[rng.randrange(len(data)) :]
        case 1:
            for _ in range(rng.randrange(1, 9)):
                data[rng.randrange(min(len(data), 300))] = rng.choice((0, 255, rng.randrange(256)))
        case 2:
            data = bytearray(rng.randbytes(rng.randrange(64)))
    return bytes(data)


def pixel_case(make_stage: Callable[[], Stage], tolerance: float = 0.0) -> Case:
    rows = st.fixed_dictionaries(
        {
            "image": st.integers(0, 9999).map(hostile_image),
            "orientation": st.none() | st.integers(-1, 9),
            "caption": CAPTIONS,
        }
    )
    bad = {"image": good_pixels(0)["image"][:200], "caption": "cut short"}
    return Case(make_stage, good_pixels, bad, rows, tolerance)


# ---------------------------------------------------------------- masks


def masks_case() -> Case:
    def good(number: int) -> Cells:
        return {"image": encoded(picture(60 + number, 48, seed=number)), "boxes": [box("cat", 8, 8, 24)]}

    rows = st.fixed_dictionaries(
        {
            "image": st.integers(0, 9999).map(hostile_image),
            "orientation": st.none() | st.integers(-1, 9),
            "caption": CAPTIONS,
            "boxes": st.none() | st.lists(BOXES, max_size=3),
            "width": st.none() | st.sampled_from([0, 1, 40, 10_000]),
            "original_width": st.none() | st.sampled_from([1, 40, 640]),
            "original_height": st.none() | st.sampled_from([1, 30, 480]),
        }
    )
    bad = {"image": good(0)["image"][:200], "boxes": [box("cat", 8, 8, 24)]}
    return Case(lambda: FindMasks(MasksConfig()), good, bad, rows)


def masks_rules_case() -> Case:
    facts = {"mask_count": 1, "mask_largest": 900, "mask_coverage": 0.1, "box_agreement": 0.8, "mask_clip": None}
    rows = st.fixed_dictionaries(
        {
            "mask_count": st.sampled_from([0, 1, 2**31 - 1]),
            "mask_largest": st.sampled_from([0, 99, 100, 2**60]),
            "mask_coverage": st.sampled_from([0.0, 1.0, float("nan")]),
            "box_agreement": st.sampled_from([None, 0.0, 0.5, float("nan"), float("inf")]),
        }
    )
    config = MaskRules(smallest=100, agreement=0.5)
    return Case(lambda: JudgeMasks(config), lambda _: facts, facts | {"box_agreement": 0.4}, rows)


# ---------------------------------------------------------------- synthesize


def synthesize() -> Stage:
    vocabulary = ("cat", "dog", "tree", "hot dog")
    return Synthesize(SynthesizeConfig(vocabulary=vocabulary, template=TemplateConfig(negatives=(How.random,))))


def box(label: str | None, x: float, y: float, side: float) -> Cells:
    return {"label": label, "x": x, "y": y, "w": side, "h": side}


def good_boxes(number: int) -> Cells:
    boxes = [box("cat", 10 + number, 20, 90), box("dog", 300 + number, 40, 80)]
    return {"caption": f"a cat and a dog {number}", "boxes": boxes, "original_width": 640, "original_height": 480}


NUMBERS = st.sampled_from([0.0, -5.0, 3.5, 99.0, 640.0, 1e30])
BOXES = st.builds(box, st.sampled_from([None, "", "cat", "Dogs ", "x" * 999, "猫", "\x00"]), NUMBERS, NUMBERS, NUMBERS)
DESCRIBED = st.fixed_dictionaries(
    {
        "caption": CAPTIONS,
        "captions": st.none() | st.lists(st.sampled_from(["", "a cat"]), max_size=3),
        "language": st.sampled_from([None, "en", "zh-Hant", "??"]),
        "boxes": st.none() | st.lists(BOXES, max_size=6),
        "texts": st.none() | st.just([{"text": "STOP", "x": 1.0, "y": 1.0, "w": 9.0, "h": 9.0}]),
        "original_width": st.sampled_from([None, 0, 1, 640]),
        "original_height": st.sampled_from([None, 0, 480]),
    }
)


# ---------------------------------------------------------------- download


def no_lookup(host: str) -> list[str]:
    raise AssertionError(f"the laws ask for no name: {host}")


def download_case(server: HostileServer) -> Case:
    """`*.test` is the server; every other URL here must be refused before anybody is asked for anything."""
    server.pages |= {f"/{i}.jpg": answer(encoded(picture(seed=i), "JPEG")) for i in range(10)}
    server.pages |= {
        "/page.html": answer(b"<html>"),
        "/empty": answer(b""),
        "/short": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n\xff\xd8\xff"),
        "/garbage": raw(b"\x00\xff\x00 no http\r\n\r\n"),
        "/hang-up": raw(b""),
        "/away": redirect("http://127.0.0.1:9/"),
        "/round": redirect("http://web.test/round"),
        "/onward": redirect("http://web.test/3.jpg"),
        "/no-robots": answer(encoded(picture(), "JPEG"), X_Robots_Tag="noai"),
    }
    served = st.sampled_from(sorted(server.pages)).map(lambda path: f"http://web.test{path}")
    refused = st.sampled_from(
        [None, "", " ", "no url", "ftp://web.test/a", "file:///etc/passwd", "http://127.0.0.1/", "http://[::1]/a.jpg",
         "http://169.254.169.254/latest", "http://web.test:99999/", "http://web.test/\r\nX: y", "javascript:alert(1)"]
    )  # fmt: skip
    config = DownloadConfig(
        connect_to=server.connect_to, retries=0, backoff_s=0, connect_timeout_s=5, read_timeout_s=5, total_timeout_s=9
    )
    return Case(
        lambda: Download(config, no_lookup),
        lambda i: {"url": f"http://web.test/{i % 10}.jpg"},
        {"url": "http://web.test/page.html"},
        st.fixed_dictionaries({"url": served | refused}),
    )
