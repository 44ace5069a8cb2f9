"""Masks for boxes and points, over many pictures at once: part, object and whole of each, one marked best."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from schemas.masks_config import EverythingConfig
from stages.masks.backend import BoxXywh, Found
from stages.masks.cut import looked_at, masks, xywh
from stages.masks.encoder import Embedded, Size
from stages.masks.passes import Answer, asked
from stages.masks.sam import Sam

if TYPE_CHECKING:
    import torch

Asked = tuple[int, Sequence[float]]
"""A prompt's index among its picture's, and the point or the box (left, top, right, bottom) that the model sees."""


def prompted(
    sam: Sam,
    embedded: Embedded,
    kind: Literal["point", "box"],
    prompts: Sequence[Sequence[Sequence[float]]],
    config: EverythingConfig,
) -> list[list[Found]]:
    """The masks of each embedded picture, in the order of its points (x, y) or boxes (x, y, w, h).

    A prompt gives as many masks as the model makes for it (three: part, object, whole, in the model's order), less the
    empty ones. A box is cut at the picture's edge; a box or a point outside of the picture gives none. `config` says
    where a mask begins (`threshold`) and how its stability is measured. Raises ValueError for what is not finite.
    """
    import torch

    inside = [_inside(kind, p, size) for p, size in zip(prompts, embedded.sizes, strict=True)]
    width = 2 if kind == "point" else 4
    tensors = [
        torch.tensor([p for _, p in some], dtype=getattr(torch, sam.exact)).reshape(-1, width) for some in inside
    ]
    found: list[list[Found]] = [[] for _ in inside]
    for answer in asked(sam, embedded, kind, tensors, config.prompts_per_pass):
        mine = inside[answer.picture][answer.first : answer.first + len(answer.logits)]
        found[answer.picture] += _found(sam, answer, mine, embedded.sizes[answer.picture], config)
    return found


def _inside(kind: Literal["point", "box"], prompts: Sequence[Sequence[float]], size: Size) -> list[Asked]:
    """Those that have something of the picture."""
    shaped = [tuple(float(v) for v in p) for p in prompts]
    for prompt in shaped:
        if len(prompt) != (2 if kind == "point" else 4) or not np.isfinite(prompt).all():
            raise ValueError(f"a {kind} is {'two' if kind == 'point' else 'four'} finite numbers, not {prompt}")
    if kind == "point":
        return [(i, p) for i, p in enumerate(shaped) if 0 <= p[0] <= size[1] and 0 <= p[1] <= size[0]]
    corners = [(i, _corners(p, size)) for i, p in enumerate(shaped)]  # pyright: ignore[reportArgumentType]
    return [(i, box) for i, box in corners if box[2] > box[0] and box[3] > box[1]]


def _corners(box: BoxXywh, size: Size) -> tuple[float, float, float, float]:
    """Left, top, right, bottom within the picture; in float32, as transformers' processors round boxes."""
    x, y, w, h = box
    height, width = size
    corners = np.array((x, y, x + w, y + h), np.float32)
    left, top, right, bottom = np.clip(corners, 0, np.array((width, height) * 2, np.float32)).tolist()
    return left, top, right, bottom


def _found(sam: Sam, answer: Answer, mine: list[Asked], size: Size, config: EverythingConfig) -> Iterator[Found]:
    each = answer.predicted_iou.shape[1]
    logits, iou = answer.logits.flatten(0, 1), answer.predicted_iou.flatten()
    looks = looked_at(sam, logits, size, config)
    filled = looks.areas > 0
    best = _best(answer.predicted_iou, filled.reshape(-1, each)).flatten()[filled].tolist()
    boxes = looks.boxes[filled].tolist()
    cut = masks(sam, logits[filled], size, config, boxes)
    facts = zip(
        cut, boxes, best, filled.nonzero()[:, 0].tolist(), iou[filled].tolist(), looks.stability[filled].tolist(),
        strict=True,
    )  # fmt: skip
    for pixels, box, is_best, number, predicted, stable in facts:
        index, prompt = mine[number // each]
        one = Found(xywh(box), pixels, None, predicted, stable, index, is_best)
        yield replace(one, point=(prompt[0], prompt[1])) if len(prompt) == 2 else one


def _best(iou: "torch.Tensor", filled: "torch.Tensor") -> "torch.Tensor":
    """Which mask of each prompt (p, masks) has the highest predicted IoU among those with a pixel; bool, same shape."""
    import torch

    first = iou.where(filled, torch.full_like(iou, -torch.inf)).argmax(1)
    return torch.nn.functional.one_hot(first, iou.shape[1]).bool() & filled
