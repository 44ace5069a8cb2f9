"""Shapes, colours and sizes of the objects, and how a shape becomes pixels.

A shape is one or two closed outlines in a unit frame (radius 1, x right, y down); an even-odd fill makes the
hole of a ring. Coverage is rasterised at four times the resolution and averaged, so that an object's mask and
its anti-aliased edge come from the same raster.
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import cache
from typing import NamedTuple

import numpy as np

Outline = list[np.ndarray]
SUPERSAMPLE = 4
_SUBPIXEL_BITS = 4


class Shape(StrEnum):
    circle = "circle"
    square = "square"
    triangle = "triangle"
    star = "star"
    ring = "ring"
    cross = "cross"
    heart = "heart"
    hexagon = "hexagon"
    diamond = "diamond"
    crescent = "crescent"


class Colour(StrEnum):
    red = "red"
    orange = "orange"
    yellow = "yellow"
    green = "green"
    turquoise = "turquoise"
    blue = "blue"
    purple = "purple"
    pink = "pink"
    white = "white"
    black = "black"


class Size(StrEnum):
    small = "small"
    medium = "medium"
    large = "large"


PALETTE: dict[Colour, tuple[int, int, int]] = {
    Colour.red: (212, 32, 36),
    Colour.orange: (248, 132, 20),
    Colour.yellow: (252, 220, 40),
    Colour.green: (40, 158, 58),
    Colour.turquoise: (40, 206, 198),
    Colour.blue: (36, 76, 210),
    Colour.purple: (126, 48, 168),
    Colour.pink: (248, 134, 186),
    Colour.white: (250, 250, 250),
    Colour.black: (18, 18, 20),
}

DIAMETER: dict[Size, tuple[float, float]] = {
    Size.small: (0.155, 0.185),
    Size.medium: (0.215, 0.26),
    Size.large: (0.30, 0.36),
}
"""Range of the diameter of each size class, as a share of the picture's shorter side."""


class Patch(NamedTuple):
    """Coverage of one object: float32 in [0, 1], its inner part without the rim, and where the patch lies."""

    coverage: np.ndarray
    inner: np.ndarray
    x: int
    y: int


def _polygon(corners: int, start_degrees: float, radius: float = 1.0) -> np.ndarray:
    angles = np.deg2rad(start_degrees) + np.arange(corners) * (2 * math.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def _star() -> np.ndarray:
    points = np.empty((10, 2))
    points[0::2] = _polygon(5, -90)
    points[1::2] = _polygon(5, -54, 0.42)
    return points


def _cross() -> np.ndarray:
    a = 0.34
    return np.array(
        [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]
    )


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], axis=1) / 16.5


def _crescent() -> np.ndarray:
    outer = np.deg2rad(np.linspace(52.4, 307.6, 48))
    inner = np.deg2rad(np.linspace(278, 82, 40))
    outer_points = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    centre, radius = 0.5, 0.8
    inner_points = np.stack([centre + radius * np.cos(inner), radius * np.sin(inner)], axis=1)
    return np.concatenate([outer_points, inner_points]) + np.array([0.18, 0.0])


@cache
def outline(shape: Shape) -> Outline:
    """The closed contours of `shape` in the unit frame, each (points, 2) float64."""
    makers: dict[Shape, Outline] = {
        Shape.circle: [_polygon(64, 0)],
        Shape.square: [_polygon(4, 45, 1.12)],
        Shape.triangle: [_polygon(3, -90, 1.08)],
        Shape.star: [_star()],
        Shape.ring: [_polygon(64, 0), _polygon(64, 0, 0.56)],
        Shape.cross: [_cross()],
        Shape.heart: [_heart()],
        Shape.hexagon: [_polygon(6, 0)],
        Shape.diamond: [np.array([(0, -1.1), (0.68, 0), (0, 1.1), (-0.68, 0)], dtype=float)],
        Shape.crescent: [_crescent()],
    }
    return makers[shape]


def placed(shape: Shape, radius: tuple[float, float], angle: float, centre: tuple[float, float]) -> Outline:
    """The outline in pixels: rotated by `angle` degrees, scaled by (rx, ry), moved to `centre` (x, y)."""
    turn = math.radians(angle)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return [contour @ rotation * np.asarray(radius) + np.asarray(centre) for contour in outline(shape)]


def extent(contours: Outline) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of an outline in pixels."""
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def rasterise(contours: Outline, rim: float = 0.0) -> Patch:
    """Coverage of an outline on the pixel grid, and of its inside without a rim of `rim` pixels."""
    import cv2

    left, top, right, bottom = extent(contours)
    x, y = math.floor(left) - 1, math.floor(top) - 1
    width, height = math.ceil(right) + 1 - x, math.ceil(bottom) + 1 - y
    canvas = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), np.uint8)
    scale = SUPERSAMPLE * (1 << _SUBPIXEL_BITS)
    half = (1 << _SUBPIXEL_BITS) / 2  # cv2 puts integer coordinates at pixel centres
    fixed = [np.rint((c - (x, y)) * scale - half).astype(np.int32) for c in contours]
    cv2.fillPoly(canvas, fixed, 255, shift=_SUBPIXEL_BITS)
    eroded = canvas.copy()
    if rim > 0:  # a stroke of twice the rim, centred on the outline, takes the rim off the inside
        stroke = max(1, round(2 * rim * SUPERSAMPLE))
        cv2.polylines(eroded, fixed, True, 0, thickness=stroke, shift=_SUBPIXEL_BITS)
    shrink = [cv2.resize(c, (width, height), interpolation=cv2.INTER_AREA) for c in (canvas, eroded)]
    coverage, inner = (np.asarray(s, np.float32) / 255 for s in shrink)
    return Patch(coverage, inner, x, y)
