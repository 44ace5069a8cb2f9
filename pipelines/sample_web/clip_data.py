"""What the small CLIP is trained on: rendered scenes, codes of theirs and of hard negatives, captions and their codes.

Scene seeds: training from 10,000,000; validation and test (clip_eval) from 20,000,000 and 30,000,000; a demo pool's are
below 9,000,000, and the vocabulary's between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import HardKind, make_claims, spoil
from pipelines.sample_web.clip_codes import code, directions
from pipelines.sample_web.clip_files import EMBEDDING
from pipelines.sample_web.scenes import MAX_OBJECTS, make_scene
from pipelines.sample_web.shapes import Colour, Shape

TRAIN_SEED = 10_000_000
HARD_KINDS = tuple(HardKind)
GREY_CAPTIONS, GREY_PICTURES = 0.05, 0.15
"""Shares without colours; pictures more often, since a grey one teaches less."""
GREY_AT_LAST = 0.07
"""Share of the last phase: a black disc on a grey ground may be either, and is taken for what is shown more often."""
_AT_ONCE = 500  # scenes per task of a worker process


@dataclass(frozen=True, slots=True)
class SceneCodes:
    """Of N scenes, float16: `own` (N, 2, D), the code in colour and in grey; `wrong` (N, 4, D), of one hard negative of
    each kind, where `possible` (N, 4)."""

    own: np.ndarray
    wrong: np.ndarray
    possible: np.ndarray


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


def scene_codes(start: int, count: int, workers: int = 2) -> SceneCodes:
    """Codes of `count` scenes from seed `start`; `count` is a multiple of 500."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(partial(_codes, count=_AT_ONCE), range(start, start + count, _AT_ONCE)))
    return SceneCodes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _codes(start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = directions(EMBEDDING)
    own = np.zeros((count, 2, EMBEDDING), np.float16)
    wrong, possible = (
        np.zeros((count, len(HARD_KINDS), EMBEDDING), np.float16),
        np.zeros((count, len(HARD_KINDS)), bool),
    )
    for i in range(count):
        scene, rng = make_scene(start + i), Random(f"codes:{start + i}")
        claims = make_claims(scene, rng)
        own[i, 0] = code(claims.groups, True, table)
        own[i, 1] = code(make_claims(scene, rng, coloured=False).groups, False, table)
        for k, kind in enumerate(HARD_KINDS):
            spoiled = spoil(claims, scene, kind, rng)
            if spoiled is not None:
                wrong[i, k], possible[i, k] = code(spoiled.groups, True, table), True
    return own, wrong, possible


def captioned(seed: int, epoch: int, table: np.ndarray) -> tuple[str, np.ndarray]:
    """A caption and its code. Half of them are wrong about the scene, which a text tower does not see."""
    scene, rng = make_scene(seed), Random(f"train:{seed}:{epoch}")
    claims = make_claims(scene, rng, coloured=rng.random() >= GREY_CAPTIONS)
    if rng.random() < 0.5:
        claims = spoil(claims, scene, rng.choice(HARD_KINDS), rng) or claims
    return sentence(claims, rng.getrandbits(48)), code(claims.groups, claims.coloured, table)
