"""What both towers of the small CLIP learn to say: a code for the things a caption counts.

A group ("three red stars") has a fixed random direction, a caption or a picture the sum of its groups' directions.
Two contents that differ in one of three groups are 0.67 apart or further, whichever thing differs, so one threshold
serves for colour, object and count alike. Known only to the training script: a checkpoint is two towers and a cosine.
"""

from __future__ import annotations

import numpy as np

from pipelines.sample_web.scenes import MAX_OBJECTS, Group
from pipelines.sample_web.shapes import Colour, Shape

_COLOURS, _SHAPES = {c: i for i, c in enumerate(Colour)}, {s: i for i, s in enumerate(Shape)}
KINDS = len(_COLOURS) * len(_SHAPES)


def directions(size: int) -> np.ndarray:
    """float32 (KINDS + shapes, MAX_OBJECTS, size), unit length: of each kind (then: shape, in grey) and count.

    Counts of the same kind exclude one another, so they are pushed apart: cosine −0.2 instead of 0.
    """
    made = np.random.default_rng(0).standard_normal((KINDS + len(_SHAPES), MAX_OBJECTS, size)).astype(np.float32)
    made -= made.mean(1, keepdims=True)
    return made / np.linalg.norm(made, axis=2, keepdims=True)


def kind(group: Group, coloured: bool = True) -> int:
    """Row of `directions` for the group's kind."""
    shape = _SHAPES[group.shape]
    return _COLOURS[group.colour] * len(_SHAPES) + shape if coloured else KINDS + shape


def code(groups: tuple[Group, ...], coloured: bool, table: np.ndarray) -> np.ndarray:
    """Unit vector (size,) for what is there; `table` from `directions`."""
    total = np.sum([table[kind(g, coloured), g.count - 1] for g in groups], axis=0)
    return total / np.linalg.norm(total)
