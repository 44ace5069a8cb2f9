"""Pictures for the small CLIP: as a build shows them (encoded, edited, decoded, turned upright), or as drawn."""

from __future__ import annotations

import io
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from pipelines.sample_web.clip_files import IMAGE_SIZE
from pipelines.sample_web.payloads import Edit, Encoding, Payload, encode
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

SHOWN_EVERY = 2
"""Of the training scenes, each so-manieth is drawn as a build shows it, which costs ten times as much."""

_VARIETY = (
    *[Payload(0)] * 12, *[Payload(0, edit=e) for e in Edit], Payload(0, Encoding.jpeg_grey), Payload(0, Encoding.webp),
    Payload(0, Encoding.jpeg_cmyk), Payload(0, Encoding.png_alpha), Payload(0, Encoding.gif_animated),
    Payload(0, orientation=6), Payload(0, orientation=3),
)  # fmt: skip


def payload(seed: int) -> Payload:
    """The file that a scene comes in."""
    made = Random(f"variety:{seed}").choice(_VARIETY)
    return Payload(seed, made.encoding, made.edit, made.orientation)


def is_grey(seed: int) -> bool:
    """Whether that file has lost its colours."""
    return payload(seed).encoding is Encoding.jpeg_grey


def shown(seed: int) -> PilImage:
    """The picture as a build sees it: oriented, RGB."""
    from PIL import Image, ImageOps

    return ImageOps.exif_transpose(Image.open(io.BytesIO(encode(payload(seed))))).convert("RGB")


def draw_pictures(start: int, count: int, workers: int = 2) -> np.ndarray:
    """Scenes from seed `start`, uint8 (count, IMAGE_SIZE, IMAGE_SIZE, 3); each SHOWN_EVERY-th as a build shows it."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    out = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for i, picture in enumerate(pool.map(_draw, range(start, start + count), chunksize=256)):
            out[i] = picture
    return out


def grey_rows(start: int, count: int) -> np.ndarray:
    """Which of `draw_pictures` have no colours: bool (count,)."""
    return np.asarray([_as_shown(seed) and is_grey(seed) for seed in range(start, start + count)])


def _as_shown(seed: int) -> bool:
    return seed % SHOWN_EVERY == 0


def _draw(seed: int) -> np.ndarray:
    from PIL import Image

    if not _as_shown(seed):
        return render(make_scene(seed), (IMAGE_SIZE, IMAGE_SIZE))
    return np.asarray(shown(seed).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
