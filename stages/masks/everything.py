"""Segment everything, over many pictures at once: a grid of points, and what is worth keeping of what they give.

The steps are SAM's automatic mask generation (facebookresearch/segment-anything, automatic_mask_generator.py). Points
of all pictures share the decoder's passes. A mask is brought to its picture's size only if its predicted IoU is high
enough, and kept at that size only if NMS keeps it: until then it is the decoder's small logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from schemas.masks_config import EverythingConfig
from stages.masks.backend import Found, tight
from stages.masks.crops import Window, merged, windows
from stages.masks.cut import Looks, looked_at, masks, xywh
from stages.masks.encoder import Embedded, Size, check_picture
from stages.masks.passes import Answer, asked
from stages.masks.regions import tidied
from stages.masks.sam import Sam

if TYPE_CHECKING:
    import torch

_PENDING = 256
"""Masks of one picture that wait to be looked at: 64 MiB of SAM's logits."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """How pictures are embedded: `embed` as Sam.embed, with at most `most` of them at a time."""

    embed: Callable[[Sequence[np.ndarray]], Embedded]
    most: int = 8


@dataclass(frozen=True, slots=True)
class _Masks:
    """Masks of one picture, m of them, in the order of their points."""

    logits: "torch.Tensor"
    """(m, rows, columns), as the decoder gave them."""
    predicted_iou: "torch.Tensor"
    """(m,) float32."""
    points: "torch.Tensor"
    """(m, 2) in pixels."""

    def take(self, which: "torch.Tensor") -> "_Masks":
        return _Masks(self.logits[which], self.predicted_iou[which], self.points[which])

    @staticmethod
    def joined(parts: "list[_Masks]") -> "_Masks":
        import torch

        return _Masks(
            torch.cat([p.logits for p in parts]),
            torch.cat([p.predicted_iou for p in parts]),
            torch.cat([p.points for p in parts]),
        )


def segment(
    sam: Sam, pictures: Sequence[np.ndarray], config: EverythingConfig | None = None, encoder: Encoder | None = None
) -> list[list[Found]]:
    """The masks of each picture, uint8 (height, width, 3), by predicted IoU, best first.

    A picture too thin for the model (`Sam.fits`) has none. `best` marks the best mask of each point.
    """
    chosen, how = config or EverythingConfig(), encoder or Encoder(sam.embed)
    for rgb in pictures:
        check_picture(rgb)
    todo = [
        (index, window)
        for index, rgb in enumerate(pictures)
        for window in windows(rgb.shape[0], rgb.shape[1], chosen)
        if sam.fits(window.bottom - window.top, window.right - window.left)
    ]
    parts: list[list[tuple[Window, list[Found]]]] = [[] for _ in pictures]
    for start in range(0, len(todo), how.most):
        some = todo[start : start + how.most]
        embedded = how.embed([window.of(pictures[index]) for index, window in some])
        looked = _in_windows(sam, embedded, [window for _, window in some], chosen)
        for (index, window), found in zip(some, looked, strict=True):
            parts[index].append((window, found))
    return [_best(_tidy(merged(mine, chosen), chosen)) if mine else [] for mine in parts]


def everything(sam: Sam, embedded: Embedded, config: EverythingConfig | None = None) -> Iterator[list[Found]]:
    """As `segment`, of pictures that are embedded already. The encoder is not run, so there are no crops."""
    chosen = config or EverythingConfig()
    whole = [Window(0, 0, width, height, 0, height, width) for height, width in embedded.sizes]
    for found in _in_windows(sam, embedded, whole, chosen):
        yield _best(_tidy(found, chosen))


def grid(points_per_side: int) -> np.ndarray:
    """Centres of equal cells of the unit square, row by row: float32 (points_per_side², 2), x before y."""
    import torch

    half = 1 / (2 * points_per_side)
    line = torch.linspace(half, 1 - half, points_per_side).numpy()
    x, y = np.meshgrid(line, line)
    return np.stack((x, y), axis=-1).reshape(-1, 2)


def _in_windows(
    sam: Sam, embedded: Embedded, shown: Sequence[Window], config: EverythingConfig
) -> Iterator[list[Found]]:
    """The masks of each embedded window in turn, in its own pixels, by predicted IoU, best first."""
    import torch

    points = [
        torch.from_numpy(grid(max(1, config.points_per_side // config.crop_points_factor**window.layer)))
        * torch.tensor((width, height), dtype=torch.float32)
        for window, (height, width) in zip(shown, embedded.sizes, strict=True)
    ]
    kept = [_Kept(sam, size, window, config) for size, window in zip(embedded.sizes, shown, strict=True)]
    for answer in asked(sam, embedded, "point", points, config.prompts_per_pass):
        kept[answer.picture].add(answer, points[answer.picture])
    for one in kept:
        yield one.found()


class _Kept:
    """What is worth keeping of one window's masks, looked at as they come."""

    def __init__(self, sam: Sam, size: Size, window: Window, config: EverythingConfig) -> None:
        self._sam, self._size, self._window, self._config = sam, size, window, config
        self._pending: list[_Masks] = []
        self._good: list[tuple[_Masks, Looks]] = []

    def add(self, answer: Answer, points: "torch.Tensor") -> None:
        """Keep what has a predicted IoU that is high enough."""
        each = answer.predicted_iou.shape[1]
        mine = points[answer.first : answer.first + len(answer.logits)].to(answer.logits.device)
        made = _Masks(answer.logits.flatten(0, 1), answer.predicted_iou.flatten(), mine.repeat_interleave(each, dim=0))
        limit = self._config.predicted_iou
        self._pending.append(made.take(made.predicted_iou > limit) if limit else made)
        if sum(len(p.predicted_iou) for p in self._pending) >= _PENDING:
            self._look()

    def _look(self) -> None:
        """Keep what is stable, not empty, not all of the picture, and not cut by an edge of the window."""
        config, window = self._config, self._window
        made, self._pending = _Masks.joined(self._pending), []
        looks = looked_at(self._sam, made.logits, self._size, config)
        good = looks.areas > 0
        if config.stability:
            good &= looks.stability > config.stability
        if config.largest is not None:
            good &= looks.areas < config.largest * window.height * window.width
        if window.layer:
            good &= ~window.touches(looks.boxes, config.crop_edge)
        self._good.append((made.take(good), looks.take(good)))

    def found(self) -> list[Found]:
        """What has not the same box as something better, by predicted IoU."""
        from torchvision.ops import nms

        if self._pending:
            self._look()
        if not self._good:
            return []
        made, looks = _Masks.joined([m for m, _ in self._good]), Looks.joined([k for _, k in self._good])
        self._good = []
        order = nms(looks.boxes.float(), made.predicted_iou, self._config.nms)
        best, seen = made.take(order), looks.take(order)
        boxes = seen.boxes.tolist()
        facts = zip(
            masks(self._sam, best.logits, self._size, self._config, boxes), boxes, best.points.tolist(),
            best.predicted_iou.tolist(), seen.stability.tolist(), strict=True,
        )  # fmt: skip
        return [Found(xywh(box), pixels, (x, y), iou, stable) for pixels, box, (x, y), iou, stable in facts]


def _tidy(found: list[Found], config: EverythingConfig) -> list[Found]:
    """Without small holes and islands; where that changed a mask, it now yields to an unchanged one of the same box."""
    import torch
    from torchvision.ops import nms

    if not config.smallest_region or not found:
        return found
    pairs = [(old, _shrunk(old, tidied(old.pixels, config.smallest_region))) for old in found]
    left = [(old, new) for old, new in pairs if new is not None]
    if not left or all(old is new for old, new in left):
        return [new for _, new in left]
    boxes = torch.tensor([(x, y, x + w - 1, y + h - 1) for _, new in left for x, y, w, h in [new.box]])
    unchanged = torch.tensor([float(old is new) for old, new in left])
    limit = max(config.nms, config.crop_nms) if config.crop_layers else config.nms
    return [left[index][1] for index in sorted(nms(boxes.float(), unchanged, limit).tolist())]


def _shrunk(old: Found, pixels: np.ndarray) -> Found | None:
    """`old` with other pixels in its box, and the box tight again; None for no pixels, `old` itself for the same."""
    if np.array_equal(old.pixels, pixels):
        return old
    if (left := tight(pixels)) is None:
        return None
    (x, y, w, h), inner = left
    return replace(old, box=(old.box[0] + x, old.box[1] + y, w, h), pixels=inner)


def _best(found: list[Found]) -> list[Found]:
    """Best first, so a point's first mask is its best."""
    seen: set[tuple[float, float] | None] = set()
    marked: list[Found] = []
    for one in found:
        marked.append(replace(one, best=one.point not in seen))
        seen.add(one.point)
    return marked
