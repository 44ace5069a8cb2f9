"""What a section of the page is, and what all of them read."""

from dataclasses import dataclass

from pipelines.report.markup import Markup, tag
from schemas.recipe import Recipe
from stages.families import families_in, part_files
from stages.store import Store


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a place in its table of contents."""

    anchor: str
    title: str
    content: Markup

    def markup(self) -> Markup:
        return tag("section", tag("h2", self.title), self.content, id=self.anchor)


@dataclass(frozen=True, slots=True)
class Built:
    """A build to be reported."""

    store: Store
    recipe: Recipe
    finished: bool

    def done(self, family: str) -> int:
        """Parts of a family that are there."""
        return len(part_files(self.store, family))

    def whole(self, families: list[str]) -> bool:
        """Whether every part has these families."""
        parts, there = self.done("pool"), families_in(self.store)
        return parts > 0 and all(f in there and self.done(f) == parts for f in families)


UNITS = {
    "width": "pixels",
    "height": "pixels",
    "original_width": "pixels",
    "original_height": "pixels",
    "image_width": "pixels",
    "image_height": "pixels",
    "aspect": "longer side ÷ shorter side",
    "channels": "channels",
    "fetched_bytes": "bytes",
    "image_bytes": "bytes",
    "size": "bytes",
    "mean_luma": "grey levels, 0–255",
    "std_luma": "grey levels, 0–127.5",
    "caption_chars": "characters",
    "caption_words": "words",
    "repeated_share": "share of the words, 0–1",
    "nonletter_share": "share of the characters, 0–1",
    "pdq_quality": "points, 0–100",
    "clip_score": "cosine, −1–1",
    "mask_count": "masks",
    "mask_largest": "pixels",
    "mask_coverage": "share of the picture, 0–1",
    "box_agreement": "IoU, 0–1",
    "mask_clip": "cosine, −1–1",
}
"""Column → unit, as schemas/sample.py and schemas/mask.py say."""


def axis_of(value: str, columns: tuple[str, ...]) -> str:
    """A measure with its unit, for an axis; an expression has the unit of its columns where it picks one of them."""
    name, units = " ".join(value.split()), {UNITS.get(column) for column in columns}
    picks = name in columns or name.startswith(("least(", "greatest("))
    shown = name if len(name) <= 40 else f"{name[:39]}…"
    unit = units.pop() if picks and len(units) == 1 else None
    return f"{shown} ({unit})" if unit else shown
