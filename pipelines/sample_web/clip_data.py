"""Training batches for the small CLIP: rendered scenes, a true caption each, and its hard negatives.

Scene seeds: training from 10,000,000; validation and test (clip_eval) from 20,000,000 and 30,000,000; a demo pool's are
below 9,000,000, and the vocabulary's between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import HardKind, make_claims, spoil
from pipelines.sample_web.clip_files import IMAGE_SIZE
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import MAX_OBJECTS, Scene, make_scene
from pipelines.sample_web.shapes import Colour, Shape

TRAIN_SEED = 10_000_000
KINDS = tuple(HardKind)
GREY_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class TextBatch:
    """For B pictures: B true captions; B × 4 wrong ones (empty where a kind is impossible); groups told, as keys."""

    rows: np.ndarray
    grey: np.ndarray
    true: list[str]
    wrong: list[list[str]]
    keys: list[str]


def draw_pictures(start: int, count: int, workers: int = 2) -> np.ndarray:
    """`count` scenes from seed `start`, uint8 (count, IMAGE_SIZE, IMAGE_SIZE, 3)."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    out = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for i, picture in enumerate(pool.map(_draw, range(start, start + count), chunksize=256)):
            out[i] = picture
    return out


def _draw(seed: int) -> np.ndarray:
    return render(make_scene(seed), (IMAGE_SIZE, IMAGE_SIZE))


def places(start: int, count: int) -> np.ndarray:
    """Where each scene's objects are and what they are: float32 (count, MAX_OBJECTS, 4).

    Columns: centre x and y in [−1, 1] (grid_sample's frame), index of the colour, index of the shape; −9 where empty.
    """
    out = np.full((count, MAX_OBJECTS, 4), -9, np.float32)
    colours, shapes = {c: i for i, c in enumerate(Colour)}, {s: i for i, s in enumerate(Shape)}
    for i in range(count):
        scene = make_scene(start + i)
        for j, o in enumerate(scene.objects):
            x, y = 2 * o.cx / scene.width - 1, 2 * o.cy / scene.height - 1
            out[i, j] = (x, y, colours[o.colour], shapes[o.shape])
    return out


def captions(scene: Scene, epoch: int) -> tuple[bool, str, list[str], str]:
    """(grey?, true caption, one wrong caption per kind or "", key of what the picture holds)."""
    rng = Random(f"train:{scene.seed}:{epoch}")
    coloured = rng.random() >= GREY_SHARE
    claims = make_claims(scene, rng, coloured)
    words = rng.getrandbits(48)
    wrong = []
    for kind in KINDS:
        spoiled = spoil(claims, scene, kind, rng)
        wrong.append(sentence(spoiled, words) if spoiled else "")
    key = "|".join(sorted(f"{g.count} {g.colour if coloured else ''} {g.shape}" for g in claims.groups))
    return not coloured, sentence(claims, words), wrong, key


def text_batches(start: int, count: int, size: int, epoch: int) -> Iterator[TextBatch]:
    """One epoch over `count` scenes in a shuffled order; a last, smaller batch is left out."""
    order = np.random.default_rng([start, epoch]).permutation(count)
    for at in range(0, count - size + 1, size):
        rows = order[at : at + size]
        parts = [captions(make_scene(start + int(row)), epoch) for row in rows]
        yield TextBatch(
            rows, np.array([p[0] for p in parts]), [p[1] for p in parts], [p[2] for p in parts], [p[3] for p in parts]
        )
