"""Segment everything, over many pictures at once: a grid of points, and what is worth keeping of what they give.

The steps are SAM's automatic mask generation (facebookresearch/segment-anything, automatic_mask_generator.py) without
crops. Points of all pictures share the decoder's passes. A mask is brought to its picture's size only if its predicted
IoU is high enough, and kept at that size only if NMS keeps it: until then it is the decoder's small logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.masks_config import EverythingConfig
from stages.masks.backend import Found, tight
from stages.masks.regions import tidied
from stages.masks.sam import Embedded, ask_points, embed, fits, side_of, upscaled

if TYPE_CHECKING:
    import torch

_PIXELS = 2**25
"""Upscaled logits held at once, in pixels: 128 MiB of float32, and as much again while they are interpolated."""


@dataclass(slots=True)
class _Candidates:
    """Masks of one picture, m of them, in the order of their points."""

    logits: "torch.Tensor"
    """(m, rows, columns), as the decoder gave them."""
    predicted_iou: "torch.Tensor"
    """(m,) float32."""
    points: "torch.Tensor"
    """(m, 2) in pixels."""

    def take(self, which: "torch.Tensor") -> "_Candidates":
        return _Candidates(self.logits[which], self.predicted_iou[which], self.points[which])


def segment(
    model: Any, processor: Any, pictures: Sequence[np.ndarray], config: EverythingConfig | None = None
) -> list[list[Found]]:
    """The masks of each picture, by predicted IoU, best first; one pass of the encoder over all of `pictures`.

    `model` and `processor` are transformers' SamModel and SamImageProcessor, pictures uint8 (height, width, 3). A
    picture too thin for the model (`fits`) has none.
    """
    side = side_of(processor)
    whole = [index for index, rgb in enumerate(pictures) if not rgb.size or fits(rgb.shape[0], rgb.shape[1], side)]
    found: list[list[Found]] = [[] for _ in pictures]
    if whole:
        embedded = embed(model, processor, [pictures[index] for index in whole])
        for index, masks in zip(whole, everything(model, embedded, config), strict=True):
            found[index] = masks
    return found


def everything(model: Any, embedded: Embedded, config: EverythingConfig | None = None) -> Iterator[list[Found]]:
    """The masks of each embedded picture in turn, by predicted IoU, best first. The encoder is not run."""
    chosen = config or EverythingConfig()
    for picture, candidates in enumerate(_asked(model, embedded, chosen)):
        yield _tidy(_kept(candidates, embedded, picture, chosen), chosen)


def grid(points_per_side: int) -> np.ndarray:
    """Centres of equal cells of the unit square, row by row: float32 (points_per_side², 2), x before y."""
    import torch

    half = 1 / (2 * points_per_side)
    line = torch.linspace(half, 1 - half, points_per_side).numpy()
    x, y = np.meshgrid(line, line)
    return np.stack((x, y), axis=-1).reshape(-1, 2)


def _asked(model: Any, embedded: Embedded, config: EverythingConfig) -> list[_Candidates]:
    """All masks of all points whose predicted IoU is high enough, for each picture."""
    import torch

    wide = torch.tensor([(width, height) for height, width in embedded.sizes], dtype=torch.float32)
    points = (torch.from_numpy(grid(config.points_per_side))[None] * wide[:, None, :]).to(embedded.features.device)
    each = max(1, config.prompts_per_pass // len(embedded.sizes))
    passed: list[list[_Candidates]] = [[] for _ in embedded.sizes]
    for some in points.split(each, dim=1):
        logits, iou = ask_points(model, embedded, some)
        for picture, kept in enumerate(passed):
            flat = _Candidates(
                logits[picture].flatten(0, 1),
                iou[picture].flatten(),
                some[picture].repeat_interleave(iou.shape[2], dim=0),
            )
            kept.append(flat.take(flat.predicted_iou > config.predicted_iou) if config.predicted_iou else flat)
    return [
        _Candidates(
            torch.cat([c.logits for c in kept]),
            torch.cat([c.predicted_iou for c in kept]),
            torch.cat([c.points for c in kept]),
        )
        for kept in passed
    ]


def _kept(candidates: _Candidates, embedded: Embedded, picture: int, config: EverythingConfig) -> list[Found]:
    """What is stable, not empty, not all of the picture, and not the same box as something better."""
    import torch
    from torchvision.ops import nms

    seen = [_looked_at(logits, config) for logits in _at_full_size(candidates.logits, embedded, picture)]
    if not seen:
        return []
    stability, areas, boxes = (torch.cat(column) for column in zip(*seen, strict=True))
    height, width = embedded.sizes[picture]
    good = areas > 0
    if config.stability:
        good &= stability > config.stability
    if config.largest is not None:
        good &= areas < config.largest * height * width
    order = good.nonzero()[:, 0]
    order = order[nms(boxes[order].float(), candidates.predicted_iou[order], config.nms)]
    best = candidates.take(order)
    masks = (m for logits in _at_full_size(best.logits, embedded, picture) for m in (logits > config.threshold))
    facts = zip(
        masks, boxes[order].tolist(), best.points.tolist(), best.predicted_iou.tolist(), stability[order].tolist(),
        strict=True,
    )  # fmt: skip
    return [_found(mask, box, point, iou, stable) for mask, box, point, iou, stable in facts]


def _at_full_size(logits: "torch.Tensor", embedded: Embedded, picture: int) -> "Iterator[torch.Tensor]":
    height, width = embedded.sizes[picture]
    some = max(1, _PIXELS // max(embedded.side**2, height * width))
    if len(logits):
        yield from (upscaled(part, embedded, picture) for part in logits.split(some))


def _looked_at(logits: "torch.Tensor", config: EverythingConfig) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Stability, area and box (left, top, right, bottom, the last two inside) of masks (m, height, width)."""
    import torch

    high = (logits > config.threshold + config.stability_offset).sum((1, 2))
    low = (logits > config.threshold - config.stability_offset).sum((1, 2))
    masks = logits > config.threshold
    sides = [first for axis in (1, 2) for first in _ends(masks.any(axis))]
    left, right, top, bottom = sides
    # 0 / 0 is not a number, and no number is less than it: such a mask is never stable.
    return high / low, masks.sum((1, 2)), torch.stack((left, top, right, bottom), dim=1)


def _ends(line: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """First and last true of each row (m, length); 0 and length - 1 where there is none."""
    numbers = line.int()
    return numbers.argmax(1), line.shape[1] - 1 - numbers.flip(1).argmax(1)


def _found(mask: "torch.Tensor", box: list[int], point: list[float], iou: float, stability: float) -> Found:
    left, top, right, bottom = box
    pixels = mask[top : bottom + 1, left : right + 1].cpu().numpy()
    return Found((left, top, right + 1 - left, bottom + 1 - top), pixels, (point[0], point[1]), iou, stability)


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
    return [left[index][1] for index in sorted(nms(boxes.float(), unchanged, config.nms).tolist())]


def _shrunk(old: Found, pixels: np.ndarray) -> Found | None:
    """`old` with other pixels in its box, and the box tight again; None for no pixels, `old` itself for the same."""
    if np.array_equal(old.pixels, pixels):
        return old
    if (left := tight(pixels)) is None:
        return None
    (x, y, w, h), inner = left
    return replace(old, box=(old.box[0] + x, old.box[1] + y, w, h), pixels=inner)
