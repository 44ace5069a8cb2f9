"""Lies in text that others wrote: a noun or a number of a true sentence about boxed things is made false."""

import re
from collections import Counter
from random import Random

from stages.synthesize.context import Context
from tests.stages.synthesize.liar import PLURAL_ONLY, WORDS, article, many

SPARSE = 7
"""Of one label: more boxes, and COCO's annotators and a writer need not agree on the number."""

_HEAD = r"\b(?=$|[.,;!?]| (?:and|with|on|in|is|are|that|which|near|next|to|at|by|for|of|as|has|\w+ing|\w+ed)\b)"
"""What follows a noun that heads its phrase."""


def absent(text: str, context: Context, rng: Random) -> str | None:
    """Everything that is named by one of the boxes' labels is called by an absent label; None where nothing is."""
    named = [
        label for label in _labels(context) if re.search(rf"\b(?:an?|the|one) {label}{_HEAD}", text, re.IGNORECASE)
    ]
    gone = sorted(label for label in context.vocabulary - PLURAL_ONLY if not _related(label, context, text))
    if not named or not gone:
        return None
    label, instead = rng.choice(named), rng.choice(gone)
    swapped = re.sub(rf"\b{many(label)}\b", many(instead), text, flags=re.IGNORECASE)
    swapped = re.sub(rf"\ban? {label}\b", article(instead), swapped, flags=re.IGNORECASE)
    return re.sub(rf"\b{label}\b", instead, swapped, flags=re.IGNORECASE)


def miscounted(text: str, context: Context, rng: Random) -> str | None:
    """`two dogs` → four or five dogs; None where the text counts nothing as the boxes do."""
    counts = Counter(b.label for b in context.boxes or () if b.label)
    for label in sorted(counts):
        there = counts[label]
        found = re.search(rf"\b{WORDS[there]} {many(label)}\b", text, re.IGNORECASE) if 2 <= there < SPARSE else None
        if found:
            return f"{text[: found.start()]}{WORDS[there + rng.randint(2, 3)]} {many(label)}{text[found.end() :]}"
    return None


def _labels(context: Context) -> list[str]:
    return sorted({b.label for b in context.boxes or () if b.label and b.label not in PLURAL_ONLY})


def _related(label: str, context: Context, text: str) -> bool:
    """Whether a word of `label` stands in a box's label or in the text."""
    said = f"{text} {' '.join(context.captions)} {' '.join(_labels(context))}".lower()
    return any(word in said for word in label.split())
