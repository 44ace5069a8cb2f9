"""The recipe's `synthesize`: who writes which conversations, from what, for how much, and what is checked."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.config import RUNTIME, StageConfig
from schemas.conversation import Check
from schemas.endpoint import EndpointConfig

HEAPS = frozenset({"apple", "banana", "book", "broccoli", "cake", "carrot", "orange", "pizza", "sandwich", "skis"})
"""COCO's labels whose boxes hold now one piece, now a bunch, a slice or a row: nobody can say how many there are."""


SHORT = "Answer the question using a single word or phrase."
"""LLaVA-1.5's prompt for short answers (arXiv:2310.03744, section 3.2)."""


class How(StrEnum):
    """POPE, section 4.1."""

    random = "random"
    """Any absent label, each as likely."""
    popular = "popular"
    """The data set's most frequent labels."""
    adversarial = "adversarial"
    """Labels that occur most often together with what is there."""


class TemplateKind(StrEnum):
    """What the template teacher can write."""

    vqa = "vqa"
    counting = "counting"
    relation = "relation"
    negatives = "negatives"


class TemplateConfig(StageConfig):
    """What the template teacher writes."""

    seed: int = 0
    """Draws objects, wordings and order; with the sample's id."""
    kinds: tuple[TemplateKind, ...] = tuple(TemplateKind)
    questions: Annotated[int, Field(ge=1, le=20)] = 6
    """Most questions in one conversation."""
    negatives: tuple[How, ...] = tuple(How)
    """Kinds of absent labels to ask about, in turn; those that need statistics are left out where there are none."""
    max_count: Annotated[int, Field(ge=1)] = 10
    """No larger number is asked for: up to ten COCO boxes every instance, beyond it may stop (arXiv:1405.0312, 4.3)."""
    uncounted: frozenset[str] = HEAPS
    """Labels, in lower case, that are never counted, nor called "the"."""
    smallest: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Share of the picture below which a box is not asked about: 17 × 17 pixels of 640 × 480."""
    smallest_counted: Annotated[float, Field(ge=0, le=1)] = 0.003
    """The same where a box is to be counted: 32 × 32 pixels, below which COCO calls an object small."""
    short_prompt: str = SHORT
    """Follows the first question of kind vqa; empty: nothing does."""


class ChecksConfig(StageConfig):
    """Settings of the checks on a written conversation."""

    off: tuple[Check, ...] = ()
    """Checks that are not run."""
    region_kinds: tuple[str, ...] = ("grounded",)
    """Kinds whose answers name regions, so that coordinates in them are no leak."""
    max_countable: int = 10
    """Counts are not judged for words with this many boxes or more: COCO boxes about 15 of a kind and then one crowd
    (Lin et al. 2014, section 4.3), and a pool's boxes do not say which of them is a crowd."""
    uncounted: frozenset[str] = HEAPS
    """Labels, in lower case, whose counts are not judged."""
    side_margin: float = 0.04
    """Centres nearer than this share of the picture's side decide no left, right, above or below."""
    smallest_denied: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the picture from which on a box makes "there is no X" false: 55 × 55 pixels of 640 × 480."""
    text_similarity: float = 0.8
    """A quoted text as like as this (difflib ratio on letters and digits) to one that OCR read counts as read."""


class BatchConfig(StageConfig):
    """OpenAI's Batch API: half the price, up to a day of waiting."""

    requests: Annotated[int, RUNTIME, Field(ge=1, le=50_000)] = 10_000
    """In one batch; OpenAI takes 50,000 and 200 MB at most."""
    bytes: Annotated[int, RUNTIME, Field(ge=1024, le=200_000_000)] = 200_000_000
    """In one batch's file."""
    poll_s: Annotated[float, RUNTIME, Field(gt=0)] = 30.0
    """Seconds between looks."""
    wait_s: Annotated[float, RUNTIME, Field(ge=0)] = 90_000.0
    """How long one run waits; then the build stops, to be run again later. 0: hand in, and stop."""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the price table's prices that a batch costs."""


class SynthesizeConfig(StageConfig):
    """Conversations about what select kept."""

    teacher: Literal["template", "model"] = "template"
    """template: from boxes alone, without a model. model: what `endpoint` says."""
    kinds: tuple[str, ...] = ()
    """Of stages/synthesize/kinds (teacher model): conversation, detail, reasoning, vqa, text, counting … Empty: the
    LLaVA three. The template teacher's are in `template.kinds`."""
    sees: Literal["text", "image", "both"] = "text"
    """What the teacher gets: captions, boxes and text lines as symbols (LLaVA, arXiv:2304.08485, section 3), the
    picture as a data URL, or both."""
    image_size: Annotated[int, Field(ge=64, le=4096)] = 768
    """Longer side, in pixels, of the picture sent to a teacher that sees it; smaller ones are not enlarged."""
    language: Literal["caption", "en", "zh"] = "en"
    """Of the conversations; caption: the pool's language column, English where it says nothing that we have."""
    vocabulary: Literal["labels"] | tuple[str, ...] = ()
    """Labels that whoever made the boxes would have boxed wherever they occur; only for these can absence and counts be
    decided. labels: every label that occurs in the pool's boxes. Empty: boxes are examples, absence is unknown."""
    boxes: Literal["pool", "masks"] = "pool"
    """What the teacher is told and the checks believe: the pool's boxes, or those of the sample's labelled masks, which
    run before."""
    repair: Annotated[int, Field(ge=0, le=1)] = 0
    """1: what fails a check is written once more, with the finding told to the teacher."""
    fits: Annotated[float | None, Field(ge=-1, le=1)] = None
    """Drop conversations whose answers' mean CLIP similarity with the picture is below this (reason unlike_picture);
    by the recipe's measure.clip. None: not judged."""
    require: bool = True
    """Reject a sample of which no conversation is kept. False: it stays, with its caption alone."""
    group: Annotated[int, Field(ge=2, le=8)] = 3
    """Pictures in one dialogue of kind interleaved."""
    seed: int = 0
    """Draws which planted error, which question forms; with the sample's id."""
    template: TemplateConfig = TemplateConfig()
    checks: ChecksConfig = ChecksConfig()
    endpoint: EndpointConfig | None = None
    batch: BatchConfig | None = None
    """Send requests through the endpoint's Batch API instead of one by one."""
    replies: Annotated[str | None, RUNTIME] = None
    """Folder of the reply cache, on this machine; null: `replies/` in the build folder, which must then be local."""

    @property
    def counts_labels(self) -> bool:
        """Whether the pool's label statistics decide what is written."""
        return self.teacher == "template" or self.vocabulary == "labels"

    @model_validator(mode="after")
    def _teacher(self) -> Self:
        if self.teacher == "model" and self.endpoint is None:
            raise ValueError("synthesize.teacher model needs synthesize.endpoint: at least base_url and model")
        if self.teacher == "template" and self.language != "en":
            raise ValueError("the template teacher writes English only; write language: en, or use teacher: model")
        if self.teacher == "template" and not self.vocabulary:
            raise ValueError(
                "the template teacher needs synthesize.vocabulary, or it can decide no count and no absence; write the"
                " labels that were boxed wherever they occur, or `labels` for all of the pool's"
            )
        return self
