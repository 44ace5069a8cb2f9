"""What the context knows, counted: labels that are boxed, labels that captions or text lines speak of."""

from collections import Counter
from dataclasses import dataclass

from schemas.sample import Box
from stages.synthesize.checks.lexicon import Mention, lexicon_of
from stages.synthesize.checks.words import tokens
from stages.synthesize.context import Context


@dataclass(frozen=True, slots=True)
class World:
    boxes: dict[str, tuple[Box, ...]]
    spoken: frozenset[frozenset[str]]
    """What captions and text lines speak of: for each noun phrase the labels it may mean."""
    exact: bool
    """Labels carry colours: a caption's "circle" supports no red one."""
    counted: frozenset[tuple[str, int]]
    """(label, number) as captions count."""

    def number(self, labels: frozenset[str]) -> int:
        return sum(len(self.boxes.get(label, ())) for label in labels)

    def supports(self, labels: frozenset[str]) -> bool:
        if self.number(labels):
            return True
        return any(said <= labels if self.exact else said & labels for said in self.spoken)

    def caption_counts(self, mention: Mention, told: int) -> bool:
        return any((label, told) in self.counted for label in mention.labels)

    def only(self, labels: frozenset[str]) -> Box | None:
        """The one box that these labels can mean."""
        found = [box for label in labels for box in self.boxes.get(label, ())]
        return found[0] if len(found) == 1 else None


def world_of(context: Context) -> World | None:
    """None where absence cannot be decided: no boxes, or boxes that are examples."""
    if context.boxes is None or not context.vocabulary:
        return None
    lexicon = lexicon_of(context.vocabulary)
    named = Counter(box.label for box in context.boxes if box.label is not None)
    boxes = {label: tuple(box for box in context.boxes if box.label == label) for label in named}
    spoken: set[frozenset[str]] = set()
    counted: set[tuple[str, int]] = set()
    for text in (*context.captions, *(line.text for line in context.texts or ())):
        for mention in lexicon.mentions(tokens(text)):
            spoken.add(mention.labels)
            if mention.count is not None and mention.count > 1 and mention.plural:
                counted |= {(label, mention.count) for label in mention.labels}
    return World(boxes, frozenset(spoken), lexicon.coloured, frozenset(counted))
