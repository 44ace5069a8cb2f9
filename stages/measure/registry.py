"""The measures by the name they have in a recipe."""

from typing import Any

from schemas.config import StageConfig
from schemas.errors import WrongRequest
from stages.base import Stage
from stages.measure.caption import CaptionMeasure
from stages.measure.clip import ClipMeasure
from stages.measure.image import ImageMeasure
from stages.measure.pdq import PdqMeasure

MEASURES: dict[str, type[Stage]] = {
    "image": ImageMeasure,
    "caption": CaptionMeasure,
    "pdq": PdqMeasure,
    "clip": ClipMeasure,
}
"""In the order in which they may reject a row; no module here imports a model library at its top."""


def make(name: str, config: StageConfig) -> Stage:
    """The measure `name` with its own section of the recipe. Raises WrongRequest for a name nobody registered."""
    if name not in MEASURES:
        raise WrongRequest(f"there is no measure {name!r}", f"measures are: {', '.join(MEASURES)}")
    make_one: Any = MEASURES[name]
    return make_one(config)
