"""What the small vision tower is trained on: pictures squashed to its square, and what lies in each patch of them.

Scenes, pictures and grey ones are those of the small CLIP (`clip_data`, `clip_pictures`); a demo pool's seeds are below
9,000,000.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.sample_web import clip_codes
from pipelines.sample_web.clip_data import TRAIN_SEED
from pipelines.sample_web.clip_pictures import draw_pictures, grey_rows, is_grey, shown
from pipelines.sample_web.scenes import MAX_OBJECTS, Group, Scene, make_scene
from pipelines.sample_web.shapes import Colour, Shape, Size, rasterise
from pipelines.sample_web.tower_files import CODE, PATCH, ROWS, SIDE

_COLOURS, _SHAPES, _SIZES = ({v: i for i, v in enumerate(kinds)} for kinds in (Colour, Shape, Size))
EMPTY = -9.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """N scenes as the tower sees them."""

    pictures: np.ndarray
    """uint8 (N, SIDE, SIDE, 3)."""
    objects: np.ndarray
    """float32 (N, MAX_OBJECTS, 6): centre x and y as shares of the sides, radius as a share of the shorter one, index
    of the colour, the shape, the size; EMPTY where there is none."""
    coverage: np.ndarray
    """How much of each patch shows object i, in 255ths: uint8 (N, MAX_OBJECTS, ROWS, ROWS)."""
    codes: np.ndarray
    """The small CLIP's code of what is there: float16 (N, 2, CODE), in colour and in grey."""
    grey: np.ndarray
    """Whether the file has lost its colours: bool (N,)."""

    def save(self, path: Path) -> None:
        np.savez(path, **{name: getattr(self, name) for name in Drawn.__slots__})

    @staticmethod
    def load(path: Path) -> "Drawn":
        with np.load(path) as kept:
            return Drawn(**{name: kept[name] for name in Drawn.__slots__})


def draw_scenes(count: int, workers: int = 2) -> Drawn:
    """The training scenes; every second one as a build shows it."""
    pictures = draw_pictures(TRAIN_SEED, count, workers)
    return Drawn(pictures, *told(TRAIN_SEED, count), grey_rows(TRAIN_SEED, count))


def shown_scenes(start: int, count: int) -> Drawn:
    """Scenes from seed `start`, all as a build shows them."""
    from PIL import Image

    seeds = range(start, start + count)
    pictures = [np.asarray(shown(seed).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for seed in seeds]
    return Drawn(np.stack(pictures), *told(start, count), np.asarray([is_grey(seed) for seed in seeds]))


def told(start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects, coverage and codes of the scenes from seed `start`, as `Drawn` has them."""
    table = clip_codes.directions(CODE)
    objects = np.full((count, MAX_OBJECTS, 6), EMPTY, np.float32)
    coverage = np.zeros((count, MAX_OBJECTS, ROWS, ROWS), np.uint8)
    codes = np.zeros((count, 2, CODE), np.float16)
    for i in range(count):
        scene = make_scene(start + i)
        many = len(scene.objects)
        objects[i, :many] = [facts(scene, n) for n in range(many)]
        coverage[i, :many] = covered(scene)
        groups = tuple(scene.groups())
        codes[i, 0] = clip_codes.code(groups, True, table)
        codes[i, 1] = clip_codes.code(_grey(groups), False, table)
    return objects, coverage, codes


def facts(scene: Scene, number: int) -> tuple[float, ...]:
    """A row of `Drawn.objects`."""
    o = scene.objects[number]
    x, y, radius = o.cx / scene.width, o.cy / scene.height, o.radius / min(scene.width, scene.height)
    return (x, y, radius, _COLOURS[o.colour], _SHAPES[o.shape], _SIZES[o.size])


def covered(scene: Scene) -> np.ndarray:
    """How much of each patch of the squashed picture shows each object, in 255ths: uint8 (objects, ROWS, ROWS)."""
    shares = np.zeros((len(scene.objects), SIDE, SIDE), np.float32)
    for index, item in enumerate(scene.objects):
        patch = rasterise(item.contours(SIDE / scene.width, SIDE / scene.height))
        rows = slice(patch.y, patch.y + patch.coverage.shape[0])
        columns = slice(patch.x, patch.x + patch.coverage.shape[1])
        shares[index, rows, columns] = patch.coverage
        shares[:index, rows, columns] *= 1 - patch.coverage
    means = shares.reshape(len(shares), ROWS, PATCH, ROWS, PATCH).mean((2, 4))
    return np.rint(means * 255).astype(np.uint8)


def _grey(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Groups by shape alone, as a grey picture shows them."""
    counts: dict[Shape, int] = {}
    for group in groups:
        counts[group.shape] = counts.get(group.shape, 0) + group.count
    return tuple(Group(count, Colour.black, shape, None) for shape, count in counts.items())
