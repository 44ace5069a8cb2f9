"""What the small SAM is trained on: scenes drawn at the model's size, where their objects are, and prompts for them.

Training scenes are those of the small CLIP (seeds from `clip_data.TRAIN_SEED`), validation and test scenes too
(`clip_eval`); a demo pool's seeds are below 9,000,000.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.sample_web.render import render
from pipelines.sample_web.sam_files import SIDE
from pipelines.sample_web.scenes import MAX_OBJECTS, Scene, make_scene
from pipelines.sample_web.shapes import rasterise

_AT_ONCE = 250  # scenes per task of a worker process
EDGE = 15
"""Pixels around an object in which half of the background points lie."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """N scenes as the model sees them: at the top left of a square, the rest of which is padding."""

    pictures: np.ndarray
    """uint8 (N, SIDE, SIDE, 3)."""
    sizes: np.ndarray
    """Height and width of the picture in that square: int32 (N, 2)."""
    coverage: np.ndarray
    """How much of each pixel shows object i, in 255ths: uint8 (N, MAX_OBJECTS, SIDE, SIDE)."""
    boxes: np.ndarray
    """Left, top, right, bottom of what shows of it, in pixels of the square: float32 (N, MAX_OBJECTS, 4)."""
    counts: np.ndarray
    """Objects in each scene: int32 (N,)."""

    def save(self, path: Path) -> None:
        np.savez(path, **{name: getattr(self, name) for name in Drawn.__slots__})

    @staticmethod
    def load(path: Path) -> "Drawn":
        with np.load(path) as kept:
            return Drawn(**{name: kept[name] for name in Drawn.__slots__})


def draw_scenes(start: int, count: int, workers: int = 2) -> Drawn:
    """The scenes from seed `start`; `count` is a multiple of 250."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(partial(drawn, count=_AT_ONCE), range(start, start + count, _AT_ONCE)))
    return Drawn(*(np.concatenate([getattr(p, name) for p in parts]) for name in Drawn.__slots__))


def drawn(start: int, count: int) -> Drawn:
    """The same in this process, for any `count`."""
    out = Drawn(
        np.zeros((count, SIDE, SIDE, 3), np.uint8),
        np.zeros((count, 2), np.int32),
        np.zeros((count, MAX_OBJECTS, SIDE, SIDE), np.uint8),
        np.zeros((count, MAX_OBJECTS, 4), np.float32),
        np.zeros(count, np.int32),
    )
    for i in range(count):
        scene = make_scene(start + i)
        height, width = resized(scene.height, scene.width)
        out.pictures[i, :height, :width] = render(scene, (width, height))
        shown = visible(scene, (height, width))
        out.sizes[i], out.counts[i] = (height, width), len(shown)
        out.coverage[i, : len(shown)] = np.rint(shown * 255)
        out.boxes[i, : len(shown)] = [_box(s >= 0.5) for s in shown]
    return out


def resized(height: int, width: int) -> tuple[int, int]:
    """Height and width to which SamImageProcessor brings a picture of `height` and `width`."""
    scale = SIDE / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def visible(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """Share of each pixel that shows each object, of the scene at `size` (height, width) in the model's square.

    float32 (objects, SIDE, SIDE).
    """
    shares = np.zeros((len(scene.objects), SIDE, SIDE), np.float32)
    for index, item in enumerate(scene.objects):
        patch = rasterise(item.contours(size[1] / scene.width, size[0] / scene.height))
        rows = slice(patch.y, patch.y + patch.coverage.shape[0])
        columns = slice(patch.x, patch.x + patch.coverage.shape[1])
        shares[index, rows, columns] = patch.coverage
        shares[:index, rows, columns] *= 1 - patch.coverage
    return shares


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, slots=True)
class Batch:
    """B scenes, turned, with P prompts each. Points and boxes are in pixels of the model's square."""

    pictures: np.ndarray
    """uint8 (B, SIDE, SIDE, 3)."""
    sizes: np.ndarray
    """int32 (B, 2)."""
    coverage: np.ndarray
    """float32 (B, MAX_OBJECTS, SIDE, SIDE), 0-1."""
    object_boxes: np.ndarray
    """float32 (B, MAX_OBJECTS, 4): left, top, right, bottom."""
    points: np.ndarray
    """float32 (B, points, 2)."""
    pointed: np.ndarray
    """The object that each point is on; -1 is the background. int64 (B, points)."""
    boxes: np.ndarray
    """float32 (B, boxes, 4): left, top, right, bottom."""
    boxed: np.ndarray
    """int64 (B, boxes)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts for each scene of a batch."""

    points: int = 3
    """On objects."""
    background: int = 1
    """Points on none."""
    boxes: int = 1
    jitter: float = 0.1
    """Largest error of a box's edge, as a share of its side; each box draws its own part of it."""


def batch(data: Drawn, rows: np.ndarray, asked: Asked, rng: np.random.Generator) -> Batch:
    """Scenes `rows`, each mirrored and transposed by chance, with `asked` prompts."""
    seen = [_turned(data, int(row), rng) for row in rows]
    pictures, sizes, coverage, boxes = (np.stack(column) for column in zip(*seen, strict=True))
    prompts = [
        _prompts(c, b, (int(data.counts[row]), s), asked, rng)
        for c, b, s, row in zip(coverage, boxes, sizes, rows, strict=True)
    ]
    points, pointed, around, boxed = (np.stack(column) for column in zip(*prompts, strict=True))
    shares = coverage.astype(np.float32) / np.float32(255)
    return Batch(pictures, sizes, shares, boxes, points.astype(np.float32), pointed, around.astype(np.float32), boxed)


def _turned(data: Drawn, row: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Picture, size, coverage and boxes of one scene, mirrored and transposed by chance."""
    (height, width), boxes = data.sizes[row], data.boxes[row].copy()
    picture, coverage = np.zeros_like(data.pictures[row]), np.zeros_like(data.coverage[row])
    up, left = (rng.random(2) < 0.5).tolist()
    vertical, horizontal = slice(None, None, -1 if up else 1), slice(None, None, -1 if left else 1)
    picture[:height, :width] = data.pictures[row, :height, :width][vertical, horizontal]
    coverage[:, :height, :width] = data.coverage[row, :, :height, :width][:, vertical, horizontal]
    if left:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if up:
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    if rng.random() < 0.5:
        boxes = boxes[:, [1, 0, 3, 2]]
        return picture.transpose(1, 0, 2), np.asarray([width, height]), coverage.transpose(0, 2, 1), boxes
    return picture, np.asarray([height, width]), coverage, boxes


def _prompts(
    coverage: np.ndarray, boxes: np.ndarray, scene: tuple[int, np.ndarray], asked: Asked, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Points, what they are on, boxes, and what is in them. `scene`: how many objects, height and width."""
    count, size = scene
    pointed, boxed = _which(count, asked.points, rng), _which(count, asked.boxes, rng)
    points = [_inside(coverage[index], rng) for index in pointed]
    empty = _empty(coverage, size)
    near = empty & _grown(coverage.max(0) > 0, EDGE)
    for i in range(asked.background):
        points.append(_inside((near if (i + rng.integers(2)) % 2 and near.any() else empty).astype(np.uint8), rng))
    around = boxes[boxed]
    sides = np.tile(around[:, 2:] - around[:, :2], 2)
    error = rng.uniform(-1, 1, around.shape) * sides * rng.uniform(0, asked.jitter, (len(around), 1))
    edges = np.tile(size[::-1], 2)
    shaken = np.clip(around + error, 0, edges)
    return np.asarray(points), np.append(pointed, np.full(asked.background, -1)), shaken, boxed


def _which(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """`wanted` of `count` objects, each before any comes again."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-wanted // count))])[:wanted]


def _inside(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place (x, y), in pixels of the model's square, in one drawn by its weight, uint8 (rows, columns)."""
    sums = np.cumsum(weights, dtype=np.int64)
    cell = int(np.searchsorted(sums, rng.integers(sums[-1]), side="right"))
    return np.asarray([cell % weights.shape[1], cell // weights.shape[1]]) + rng.random(2)


def _empty(coverage: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Pixels of the picture that show no object."""
    empty = coverage.max(0) == 0
    empty[size[0] :] = False
    empty[:, size[1] :] = False
    return empty


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0
