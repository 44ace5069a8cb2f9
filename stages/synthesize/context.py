"""What is known of a sample when a conversation about it is written or checked."""

from dataclasses import dataclass, field

from schemas.sample import Box, TextLine


@dataclass(frozen=True, slots=True)
class Context:
    """One sample's captions, boxes and text lines. `width`, `height`: pixels of the picture the boxes refer to."""

    sample_id: str
    width: int
    height: int
    captions: tuple[str, ...] = ()
    boxes: tuple[Box, ...] | None = None
    """None: nobody looked. Empty: nothing of `vocabulary` is there."""
    vocabulary: frozenset[str] = field(default_factory=frozenset[str])
    """Labels that whoever made the boxes would have boxed wherever they occur (COCO's 80 …): only for these can
    absence and counts be decided. Empty: boxes are examples, absence is unknown."""
    texts: tuple[TextLine, ...] | None = None
    """None: nobody read it. Empty: there is no text."""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation as it was written, before it is checked. Turns: (role, text), from the first."""

    kind: str
    turns: tuple[tuple[str, str], ...]
    language: str = "en"
    finish_reason: str = "stop"
    """As the endpoint said: stop, length, content_filter."""
    evidence: tuple[tuple[str, ...], ...] = ()
    """What each turn rests on, parallel to `turns`, spelt as in `Turn.evidence`; empty: the teacher named none."""
    images: tuple[str, ...] | None = None
    """sample_ids of several pictures, in the order of the `<image>` in the turns; None: the sample's own picture."""
    rejected: str | None = None
    """The worse answer to the last question (kind preference), with the error `planted` in it."""
    planted: str | None = None
