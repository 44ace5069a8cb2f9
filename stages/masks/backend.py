"""Who finds masks: one face for GrabCut and for every SAM."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

BoxXywh = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the picture as shown; fractions and any place are allowed."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What one picture is asked with. All empty: everything mode asks its own grid, any other finds nothing."""

    boxes: tuple[BoxXywh, ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    """x, y in pixels; each asks for one thing."""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One mask of a picture. `box` is tight: x, y, w, h in pixels; `pixels` is the mask inside it, bool (h, w)."""

    box: tuple[int, int, int, int]
    pixels: np.ndarray
    point: tuple[float, float] | None = None
    """That was asked about: x, y in pixels."""
    predicted_iou: float | None = None
    """None: the maker gives none."""
    stability: float | None = None
    prompt_index: int | None = None
    """Which of the picture's boxes, points or words asked for it; None in everything mode."""
    best: bool = True
    """Among the masks that one prompt gave, the one with the highest predicted IoU."""
    score: float | None = None
    """How well it fits the word that asked for it, 0-1."""

    def on(self, height: int, width: int) -> np.ndarray:
        """The mask of the whole picture, bool (height, width)."""
        x, y, w, h = self.box
        full = np.zeros((height, width), np.bool_)
        full[y : y + h, x : x + w] = self.pixels
        return full


class Backend(Protocol):
    """Finds masks. Picklable before `open` and after `close`."""

    def open(self) -> None:
        """Load the model. Idempotent."""
        ...

    def close(self) -> None:
        """Let go of it. Idempotent."""
        ...

    def fetch_weights(self) -> None:
        """Bring a model named on a hub into the local cache."""
        ...

    def identity(self) -> dict[str, Any]:
        """What decides its masks beside the recipe: weights by hash, library, device. Without `open`."""
        ...

    def find(self, pictures: Sequence[np.ndarray], prompts: Sequence[Prompts]) -> list[list[Found]]:
        """The masks of each picture, uint8 (height, width, 3), in the order of its prompts; none of them is empty.

        A prompt that gives no pixel gives no mask. What a picture gets does not depend on which others came before in
        earlier calls; it may depend, in the last bits, on which share its call.
        """
        ...


def tight(mask: np.ndarray) -> tuple[tuple[int, int, int, int], np.ndarray] | None:
    """Box (x, y, w, h) of a mask's pixels, bool (height, width), and the mask inside it; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    y, x = int(rows[0]), int(columns[0])
    inner = mask[y : int(rows[-1]) + 1, x : int(columns[-1]) + 1]
    return (x, y, inner.shape[1], inner.shape[0]), inner
