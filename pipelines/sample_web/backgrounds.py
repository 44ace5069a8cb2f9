"""Backgrounds: a two-tone pattern under uneven light, drawn in relative coordinates.

Relative coordinates make the picture of a scene the same at any resolution. The uneven light is a sum of
low-frequency waves: it is what keeps perceptual hashes of different scenes far apart, plain ones included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random

import numpy as np


class Pattern(StrEnum):
    plain = "plain"
    gradient = "gradient"
    grainy = "grainy"
    striped = "striped"
    checkered = "checkered"
    blurred = "blurred"
    wavy = "wavy"


class Tone(StrEnum):
    cream = "cream"
    beige = "beige"
    grey = "grey"
    slate = "slate"
    charcoal = "charcoal"
    sage = "sage"
    mauve = "mauve"


TONES: dict[Tone, tuple[int, int, int]] = {
    Tone.cream: (234, 224, 200),
    Tone.beige: (196, 178, 146),
    Tone.grey: (150, 150, 150),
    Tone.slate: (96, 110, 130),
    Tone.charcoal: (66, 66, 70),
    Tone.sage: (148, 168, 142),
    Tone.mauve: (164, 142, 168),
}
"""Muted on purpose: no tone is near an object colour, so a caption's colours are never ambiguous."""

_WAVES = 16
_LIGHT_GRID = 96  # points a side: 16 per wave at the highest frequency


@dataclass(frozen=True, slots=True)
class Background:
    """Pattern, main tone, and the seed of everything finer."""

    pattern: Pattern
    tone: Tone
    seed: int


def make_background(rng: Random) -> Background:
    return Background(rng.choice(list(Pattern)), rng.choice(list(Tone)), rng.getrandbits(48))


def draw(background: Background, width: int, height: int) -> np.ndarray:
    """The background as float32 RGB (height, width, 3), 0–255, not yet clipped."""
    rng = np.random.default_rng(background.seed)
    base = np.asarray(TONES[background.tone], np.float32)
    light = _light(rng, width, height)
    contrast = rng.uniform(26, 46) * (-1 if base.mean() > 128 else 1)
    field = _pattern(background.pattern, rng, width, height) * np.float32(contrast)
    return base + (field + light)[:, :, None]


def _axes(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return x, y


def _light(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Sum of plane waves of 0.5 to 6 cycles, standard deviation about 24 grey levels."""
    import cv2

    x, y = _axes(_LIGHT_GRID, _LIGHT_GRID)
    total = np.zeros((_LIGHT_GRID, _LIGHT_GRID), np.float32)
    for _ in range(_WAVES):
        cycles, angle, phase = rng.uniform(0.5, 6), rng.uniform(0, math.pi), rng.uniform(0, 2 * math.pi)
        ax, ay = 2 * math.pi * cycles * math.cos(angle), 2 * math.pi * cycles * math.sin(angle)
        u, v = ax * x + phase, ay * y
        total += np.outer(np.cos(v), np.cos(u)) - np.outer(np.sin(v), np.sin(u))
    total *= np.float32(24 / math.sqrt(_WAVES / 2))
    return np.asarray(cv2.resize(total, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _pattern(pattern: Pattern, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """The pattern's field, float32 (height, width) in about [0, 1]."""
    if pattern is Pattern.plain:
        return np.zeros((height, width), np.float32)
    if pattern is Pattern.grainy:
        return _grid(rng, 56, width, height, smooth=False)
    if pattern is Pattern.blurred:
        return _grid(rng, 7, width, height, smooth=True) * np.float32(1.5)
    return _waves(pattern, rng, width, height)


def _waves(pattern: Pattern, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    x, y = _axes(width, height)
    angle, cycles, phase = rng.uniform(0, math.pi), rng.uniform(3, 8), rng.uniform(0, 2 * math.pi)
    along = np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]
    if pattern is Pattern.gradient:
        return (along - along.min()) / (along.max() - along.min()) * np.float32(1.6)
    if pattern is Pattern.striped:
        return _edge(np.sin(2 * math.pi * cycles * along + phase))
    if pattern is Pattern.checkered:
        rows, columns = np.sin(math.pi * cycles * y + phase), np.sin(math.pi * cycles * x + phase)
        return _edge(np.outer(rows, columns) * 3)
    bend = np.float32(0.06) * np.sin(2 * math.pi * 2.5 * x + phase)
    return np.float32(0.5) + np.float32(0.5) * np.sin(2 * math.pi * cycles * (y[:, None] + bend[None, :]))


def _edge(wave: np.ndarray) -> np.ndarray:
    return np.clip(wave * 6, -1, 1).astype(np.float32) * np.float32(0.5) + np.float32(0.5)


def _grid(rng: np.random.Generator, cells: int, width: int, height: int, smooth: bool) -> np.ndarray:
    import cv2

    values = rng.random((cells, cells), dtype=np.float32)
    how = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (width, height), interpolation=how), np.float32)
