"""What a sample's picture is asked with: the pool's boxes and points in its stored pixels, or words of its captions."""

import math
from dataclasses import dataclass
from typing import Any

from schemas.mask import Prompt
from schemas.masks_config import MasksConfig
from schemas.recipe import ResizeConfig
from stages.masks.backend import Prompts
from stages.masks.geometry import Sizes, points_to_stored, to_stored
from stages.masks.vocabulary import labels_in


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts, and of each its index among the sample's boxes, points or words, and its label."""

    prompts: Prompts
    indices: tuple[int, ...] = ()
    labels: tuple[str | None, ...] = ()


def ask(row: dict[str, Any], shape: tuple[int, ...], config: MasksConfig, resize: ResizeConfig | None) -> Asked:
    """The prompts of one sample (schema `Maskable`) whose stored picture has `shape` (height, width, 3).

    A box or point that has no place in the stored picture is left out; at most `config.most` are asked.
    """
    sizes = Sizes(
        row["original_width"] or shape[1], row["original_height"] or shape[0], width=shape[1], height=shape[0]
    )
    if config.prompt is Prompt.box:
        return _boxes(row, sizes, config, resize)
    if config.prompt is Prompt.point:
        return _points(row["points"] or (), sizes, config, resize)
    if config.prompt is Prompt.text:
        said = (row["caption"], *(row["captions"] or ()))
        words = labels_in(said) if config.vocabulary == "caption" else tuple(config.vocabulary)
        words = words[: config.most]
        return Asked(Prompts(words=words), tuple(range(len(words))), words)
    return Asked(Prompts())


def _boxes(row: dict[str, Any], sizes: Sizes, config: MasksConfig, resize: ResizeConfig | None) -> Asked:
    boxes: list[dict[str, Any]] = row["boxes"] or []
    places = to_stored([(b["x"], b["y"], b["w"], b["h"]) for b in boxes], sizes, resize)
    wanted = spoken_of(row["conversations"]) if config.boxes_from == "conversations" else set(range(len(boxes)))
    there = [i for i, place in enumerate(places) if i in wanted and _touches(place, sizes)][: config.most]
    prompts = Prompts(boxes=tuple(places[i] for i in there))
    return Asked(prompts, tuple(there), tuple(boxes[i]["label"] for i in there))


def _points(points: Any, sizes: Sizes, config: MasksConfig, resize: ResizeConfig | None) -> Asked:
    places = points_to_stored([(p["x"], p["y"]) for p in points], sizes, resize)
    there = [i for i, (x, y) in enumerate(places) if 0 <= x < sizes.width and 0 <= y < sizes.height][: config.most]
    prompts = Prompts(points=tuple(places[i] for i in there))
    return Asked(prompts, tuple(there), tuple(points[i]["label"] for i in there))


def spoken_of(conversations: list[dict[str, Any]] | None) -> set[int]:
    """Indices of the boxes on which a turn of a kept conversation rests (`Turn.evidence`, `box:3`)."""
    named = (e for one in conversations or () for turn in one["turns"] for e in turn["evidence"])
    return {int(number) for kind, _, number in (e.partition(":") for e in named) if kind == "box" and number.isdigit()}


def _touches(box: tuple[float, float, float, float], sizes: Sizes) -> bool:
    x, y, w, h = box
    ends = (x, y, x + w, y + h)
    return (
        all(map(math.isfinite, ends))
        and w > 0
        and h > 0
        and ends[2] > 0
        and ends[3] > 0
        and x < sizes.width
        and y < sizes.height
    )
