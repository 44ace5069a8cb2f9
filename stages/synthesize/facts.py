"""What a sample's boxes decide about it: which objects are there, how many, and which are not.

A noun is a box's label, or what is left of it without its colour ("circle" of "red circle"). Comparisons ignore case.
Everything is decided on the safe side: what a person who sees the picture might answer otherwise is open.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from schemas.sample import Box
from stages.synthesize.context import Context

COLOURS = frozenset(
    {
        "red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white", "black", "brown", "gray",
        "grey", "cyan", "magenta", "violet", "beige", "gold", "silver",
    }
)  # fmt: skip
"""CLEVR's eight, the eleven basic terms of Berlin and Kay, and the sample web's."""
SAME = 0.8
"""Two boxes of one label that overlap more (intersection over union) may be one object boxed twice."""
CROWD = 100
"""Nobody counts that many; and comparing all pairs of a hostile sample's boxes would take forever."""
_SPOKEN = re.compile(r"[A-Za-zÀ-ɏ0-9][A-Za-zÀ-ɏ0-9'’ -]{0,39}")


def fold(label: str) -> str:
    """The form in which labels are compared."""
    return " ".join(label.split()).casefold()


def speakable(label: str) -> bool:
    """Whether `label` can stand in an English sentence: one to four words of Latin letters, 40 characters at most."""
    return bool(_SPOKEN.fullmatch(label)) and 1 <= len(label.split()) <= 4 and any(c.isalpha() for c in label)


def related(a: str, b: str) -> bool:
    """Whether one name holds all words of the other, so that one thing may bear both: dog, hot dog. Both folded."""
    first, second = set(a.split()), set(b.split())
    return first <= second or second <= first


@dataclass(frozen=True)
class Facts:
    """`smallest`: share of the picture's area below which nobody is asked about a box."""

    context: Context
    smallest: float = 0.001

    @cached_property
    def labels(self) -> tuple[str | None, ...]:
        """Of each box: the folded label; None where it has none."""
        return tuple(fold(box.label) or None if box.label else None for box in self.context.boxes or ())

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(fold(label) for label in self.context.vocabulary)

    @cached_property
    def spelling(self) -> dict[str, str]:
        """Folded label → as it was written, of those that can be said in English."""
        written = [*sorted(self.context.vocabulary), *(b.label for b in self.context.boxes or () if b.label)]
        tidy = [" ".join(label.split()) for label in written]
        found = {fold(label): label for label in tidy if speakable(label)}
        for head in self._colours:
            if speakable(head):
                found.setdefault(head, head)
        return found

    @cached_property
    def visible(self) -> frozenset[int]:
        """Boxes large enough to ask about, with the centre inside the picture."""
        area = self.context.width * self.context.height
        return frozenset(
            i
            for i, box in enumerate(self.context.boxes or ())
            if 0 <= box.x + box.w / 2 <= self.context.width
            and 0 <= box.y + box.h / 2 <= self.context.height
            and box.w > 0
            and box.h > 0
            and 0 < _inside(box, self.context) >= self.smallest * area
        )

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """Labels that can be said of a visible box, folded, in order of first appearance."""
        found = (label for i, label in enumerate(self.labels) if i in self.visible and label in self.spelling)
        return tuple(dict.fromkeys(label for label in found if label))

    def instances(self, noun: str) -> tuple[int, ...]:
        """Boxes that `noun` (folded) names."""
        return tuple(i for i, label in enumerate(self.labels) if label and noun in (label, self._head(label)))

    def decided(self, noun: str) -> bool:
        """Whether each `noun` in the picture would have been boxed: it, or it in every colour, is in the vocabulary."""
        if self.context.boxes is None or None in self.labels:
            return False
        return noun in self.vocabulary or self._every_colour(noun)

    def count(self, noun: str) -> int | None:
        """How many there are; None where that is open. 0 says what `absent` says."""
        found = self.instances(noun)
        if not self.decided(noun) or not self.visible.issuperset(found):
            return None
        others = (label for i, label in enumerate(self.labels) if label and i not in found)
        if any(related(noun, label) for label in others):
            return None
        boxes = self.context.boxes or ()
        if len(found) > CROWD or any(_overlap(boxes[i], boxes[j]) > SAME for i, j in combinations(found, 2)):
            return None
        return len(found)

    def several(self, noun: str) -> bool:
        """Whether at least two are surely there; for that the vocabulary is not needed."""
        boxes = self.context.boxes or ()
        found = [boxes[i] for i in self.instances(noun) if i in self.visible][:CROWD]
        return any(_overlap(a, b) <= SAME for a, b in combinations(found, 2))

    def absent(self, noun: str) -> bool:
        return self.count(noun) == 0

    def only(self, noun: str) -> int | None:
        """The box that "the `noun`" names, where there is exactly one."""
        return self.instances(noun)[0] if self.count(noun) == 1 else None

    def colour(self, index: int) -> tuple[str, str] | None:
        """(colour, noun) of a box whose label states both."""
        label = self.labels[index]
        head = self._head(label) if label else None
        return (label.split()[0], head) if label and head else None

    def _head(self, label: str) -> str | None:
        """What `label` is without its colour; None where the first word is no colour, or part of a name (red panda)."""
        colour, _, head = label.partition(" ")
        return head if head in self._colours and colour in self._colours[head] else None

    @cached_property
    def _colours(self) -> dict[str, set[str]]:
        """Noun → colours, of nouns that occur in two colours or whose vocabulary knows only the plain noun."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for label in self.vocabulary.union(label for label in self.labels if label):
            colour, _, head = label.partition(" ")
            if colour in COLOURS and head:
                found[head].add(colour)
        return {
            head: colours
            for head, colours in found.items()
            if len(colours) > 1 or (head in self.vocabulary and f"{next(iter(colours))} {head}" not in self.vocabulary)
        }

    def _every_colour(self, noun: str) -> bool:
        palette = {c for label in self.vocabulary for c, _, head in [label.partition(" ")] if c in COLOURS and head}
        return len(palette) > 1 and all(f"{colour} {noun}" in self.vocabulary for colour in palette)


def _inside(box: Box, context: Context) -> float:
    """Area of the box inside the picture, pixels²."""
    across = min(box.x + box.w, context.width) - max(box.x, 0.0)
    down = min(box.y + box.h, context.height) - max(box.y, 0.0)
    return max(across, 0.0) * max(down, 0.0)


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    across = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    down = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(across, 0.0) * max(down, 0.0)
    whole = a.w * a.h + b.w * b.h - shared
    return shared / whole if whole > 0 else 0.0
