"""From a scene to RGB pixels."""

from __future__ import annotations

from random import Random

import numpy as np

from pipelines.sample_web.backgrounds import draw
from pipelines.sample_web.scenes import Scene, SceneObject
from pipelines.sample_web.shapes import PALETTE, rasterise

RIM = 0.09
"""Width of an object's rim as a share of its radius: dark on light fills, light on dark ones."""


def render(scene: Scene, size: tuple[int, int] | None = None) -> np.ndarray:
    """The picture as uint8 RGB (height, width, 3).

    `size` (width, height) draws the same scene at another resolution, squashed to fit; None is the scene's own.
    """
    width, height = size or (scene.width, scene.height)
    sx, sy = width / scene.width, height / scene.height
    picture = draw(scene.background, width, height)
    rng = Random(f"paint:{scene.seed}")
    for item in scene.objects:
        _paint(picture, item, (sx, sy), rng)
    return np.clip(picture + np.float32(0.5), 0, 255).astype(np.uint8)


def _paint(picture: np.ndarray, item: SceneObject, scale: tuple[float, float], rng: Random) -> None:
    fill = np.asarray([c + rng.uniform(-12, 12) for c in PALETTE[item.colour]], np.float32)
    luma = float(fill @ np.asarray((0.299, 0.587, 0.114), np.float32))
    rim_colour = np.full(3, rng.uniform(24, 52) if luma > 105 else rng.uniform(196, 228), np.float32)
    patch = rasterise(item.contours(*scale), rim=RIM * item.radius * min(scale))
    rows = slice(patch.y, patch.y + patch.coverage.shape[0])
    columns = slice(patch.x, patch.x + patch.coverage.shape[1])
    under = picture[rows, columns]
    edge, inner = patch.coverage[:, :, None], patch.inner[:, :, None]
    picture[rows, columns] = under * (1 - edge) + rim_colour * (edge - inner) + fill * inner
