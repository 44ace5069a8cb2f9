"""Boxes of a sample's masks, as the teacher and the checks take boxes: labelled, in pixels of the original picture."""

from typing import Any

from schemas.recipe import ResizeConfig
from schemas.sample import Box
from stages.masks.geometry import Sizes, to_original


def boxes_of_masks(row: dict[str, Any], resize: ResizeConfig | None) -> list[Box]:
    """The tight boxes of the labelled best masks, in their order.

    `row`: masks (family `masks`), width, height, original_width, original_height.
    """
    masks = [mask for mask in row["masks"] or () if mask["best"] and mask["label"]]
    sizes = Sizes(row["original_width"], row["original_height"], row["width"], row["height"])
    places = to_original([(m["x"], m["y"], m["w"], m["h"]) for m in masks], sizes, resize)
    return [Box(label=m["label"], x=x, y=y, w=w, h=h) for m, (x, y, w, h) in zip(masks, places, strict=True)]
