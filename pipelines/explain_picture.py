"""A sample's picture with its masks drawn over it."""

from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import WrongData, WrongRequest
from schemas.mask import Mask
from stages.masks.overlay import overlay
from stages.measure.decode import Undecodable, decode
from stages.payload import read_range
from stages.store import Store


def draw(store: Store, said: dict[str, Any], out: Path) -> None:
    """Write the stored picture of an explained sample (`pipelines.explain.explain`), with its masks, as PNG or JPEG.

    Raises WrongRequest where there is no picture or `out` is no such file, WrongData where it does not decode.
    """
    from PIL import Image

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise WrongRequest(f"{out} is not called .png or .jpg", "choose one of them")
    rgb = picture(store, said)
    masks = [Mask.model_validate(mask) for mask in (said["masks"] or {}).get("masks") or ()]
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(overlay(rgb, masks)).save(out)


def picture(store: Store, said: dict[str, Any]) -> np.ndarray:
    """The stored picture as shown, uint8 (height, width, 3)."""
    place = said["download"] or {}
    if place.get("member") is None:
        raise WrongRequest(
            f"sample {said['sample_id']} has no picture", "`pairmill explain` without --picture says why"
        )
    with store.open(f"parts/{said['part']:05d}.tar") as tar:
        data = read_range(tar, place["offset"], place["size"])
    try:
        return decode(data, place["orientation"]).rgb
    except Undecodable as error:
        raise WrongData(
            f"the picture of sample {said['sample_id']} does not decode: {error}", "fetch its part again"
        ) from error
