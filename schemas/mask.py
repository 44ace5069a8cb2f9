"""Masks of a sample: which pixels belong to which thing, what asked for it, and how sure its maker was."""

from enum import StrEnum

from schemas.row import Float32, Int32, Row
from schemas.sample import Box, Key, Picture, Point


class Prompt(StrEnum):
    """What a mask was asked for with."""

    everything = "everything"
    """A point of the regular grid over the whole picture."""
    box = "box"
    point = "point"
    text = "text"


class Rle(Row):
    """COCO's compressed run-length encoding of one binary mask, as pycocotools' `mask` module reads and writes it.

    Runs go down the columns, first of background; `{"size": [height, width], "counts": counts}` is COCO's JSON.
    """

    height: Int32
    """Of the picture, in pixels."""
    width: Int32
    counts: str
    """ASCII; the run lengths in groups of six bits (pycocotools, `common/maskApi.c`, rleToString)."""


class Mask(Row):
    """One mask, in pixels of the picture that the payload holds."""

    label: str | None
    """Of the box or the vocabulary; null: class-agnostic."""
    prompt: str
    """A `Prompt`."""
    prompt_index: Int32 | None
    """Which of the sample's boxes, points or words asked for it; null for `everything`."""
    point_x: Float32 | None
    """prompts everything and point: the point that was asked about, in pixels, from the left."""
    point_y: Float32 | None
    x: Int32
    """Tight box of the mask's pixels: left, top, width, height, as COCO's bbox."""
    y: Int32
    w: Int32
    h: Int32
    area: int
    """Pixels of the mask."""
    predicted_iou: Float32 | None
    """The model's own estimate of the mask's IoU with the truth; null: the maker gives none (grabcut)."""
    stability: Float32 | None
    """IoU of the masks cut at two thresholds around the model's own (Segment Anything, arXiv:2304.02643, appendix B);
    null: as above."""
    best: bool
    """Among the masks that one prompt gave (part, object, whole), the one with the highest predicted IoU."""
    score: Float32 | None
    """How well the label fits: SAM 3's own score of the word, or the cosine of the mask's crop with the label (CLIP);
    null: nobody judged it."""
    rle: Rle


class MaskFacts(Key):
    """What is measured of a sample's masks; rules may read all of it. Only masks with `best` count."""

    mask_count: Int32
    mask_largest: int
    """Pixels of the largest; 0 for none."""
    mask_coverage: Float32
    """Share of the picture under at least one mask, 0-1."""
    box_agreement: Float32 | None
    """Lowest IoU between a box that asked and the tight box of its mask, 0 where it got none; null: no box asked."""
    mask_clip: Float32 | None
    """Highest cosine of a mask's crop with the caption (the recipe's measure.clip); null: not measured, or no mask."""


class Masks(MaskFacts):
    """Family `masks`: the masks of one sample, in the order of their prompts, and what is measured of them."""

    masks: list[Mask]


class Masked(Key):
    """Family `masked`: what the rules of `masks.keep` said of a sample; the verdict is the evidence beside it."""

    mask_rules: Int32
    """Rules it was judged by."""


class Maskable(Picture):
    """What masks are found from. Boxes and points are in pixels of the original picture."""

    caption: str | None
    captions: list[str] | None
    boxes: list[Box] | None
    points: list[Point] | None
    width: Int32 | None
    height: Int32 | None
    original_width: Int32 | None
    original_height: Int32 | None


class MaskFailure(StrEnum):
    """Why masks cannot be looked for."""

    undecodable = "undecodable"
    """The stored bytes are no whole image; detail says what the decoder found."""


class NoMasks(StrEnum):
    """Why a sample is rejected for its masks: the built-in rules (`MaskRules`), judged after select."""

    no_mask = "no_mask"
    """No prompt gave any, or there was nothing to prompt with."""
    mask_too_small = "mask_too_small"
    """All of them are smaller than asked for."""
    box_disagrees = "box_disagrees"
    """A mask's tight box is not where the box that asked for it is."""
