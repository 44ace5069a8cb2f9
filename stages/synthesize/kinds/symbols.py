"""A context as symbols: what a language model is told of a picture that it does not see.

LLaVA's symbolic representation (Liu et al. 2023, arXiv:2304.08485, section 3): captions, and boxes as label and
coordinates; here with the lines of text that OCR read, and with a name for each item (`caption`, `box:3`, `text:0`), so
that an answer can say what it rests on. Coordinates: `[x1, y1, x2, y2]`, upper left and lower right corner as shares of
the picture's width and height, three decimals.

Deterministic, and of bounded length. Everything in it comes from strangers: control and formatting characters are
taken out, texts are cut and stand as JSON strings in which other signs stand for `<`, `>`, `[`, `]` and the backtick,
so that none of them can end the fence, open a code block or spell a chat template's mark (`<|im_end|>`, `[/INST]`).
Escapes would do that, too; but small models copy them.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from math import isfinite

from schemas.sample import Box, TextLine
from stages.synthesize.context import Context

CAPTIONS_MOST = 5
"""As many as COCO has for a picture."""
CAPTION_MOST = 2_000
"""Characters of one caption."""
BOXES_MOST = 40
"""The largest."""
TEXTS_MOST = 40
LABEL_MOST = 60
LINE_MOST = 200
"""Characters of one line of text."""
OPEN, CLOSE = "<data>", "</data>"
_HARMLESS = str.maketrans("<>[]`", "‹›()'")


def described(context: Context, more: Sequence[str] = ()) -> str:
    """The fenced block. What nobody looked for is not in it; where somebody looked and found nothing, that is.

    `more`: lines at its end; what they hold of strangers' text is spelt by `quoted`."""
    lines = [f"caption: {quoted(text)}" for text in captions(context)]
    lines += _boxes(context) + _texts(context)
    return "\n".join([OPEN, *lines, *more, CLOSE])


def named(context: Context) -> frozenset[str]:
    """The names that `described` gives to items: what an answer may say that it rests on."""
    names = {f"box:{i}" for i in shown_boxes(context)} | {f"text:{i}" for i in shown_texts(context)}
    return frozenset(names | ({"caption"} if captions(context) else set()))


def captions(context: Context) -> list[str]:
    """Those that say something, tidy."""
    return [tidy for text in context.captions[:CAPTIONS_MOST] if (tidy := plain(text, CAPTION_MOST))]


def shown_boxes(context: Context) -> list[int]:
    """Indexes, in the sample's order, of the boxes that are told: labelled, inside the picture, the largest."""
    areas = _areas(context)
    return sorted(sorted(areas, key=lambda i: (-areas[i], i))[:BOXES_MOST])


def _areas(context: Context) -> dict[int, float]:
    """Index → share of the picture, of the boxes that could be told."""
    corners = {i: region(box, context) for i, box in enumerate(context.boxes or ()) if plain(box.label, LABEL_MOST)}
    return {i: (c[2] - c[0]) * (c[3] - c[1]) for i, c in corners.items() if c is not None}


def shown_texts(context: Context) -> list[int]:
    """Indexes of the lines of text that are told: the first ones that hold anything."""
    return [i for i, line in enumerate(context.texts or ()) if plain(line.text, LINE_MOST)][:TEXTS_MOST]


def region(box: Box | TextLine, context: Context) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 as shares of the picture, cut at its edges; None where nothing of it lies inside."""
    if context.width <= 0 or context.height <= 0 or not all(map(isfinite, (box.x, box.y, box.w, box.h))):
        return None
    x1, x2 = (min(max(v / context.width, 0.0), 1.0) for v in (box.x, box.x + box.w))
    y1, y2 = (min(max(v / context.height, 0.0), 1.0) for v in (box.y, box.y + box.h))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def spelt(corners: Sequence[float]) -> str:
    """A region as it stands in a prompt and in an answer."""
    return "[" + ", ".join(f"{c:.3f}" for c in corners) + "]"


def plain(text: str | None, most: int) -> str:
    """One line of at most `most` characters: no control, formatting, private or unassigned characters."""
    if not text:
        return ""
    kept = "".join(
        " " if c.isspace() else c for c in text[: 4 * most] if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    line = " ".join(kept.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def quoted(text: str) -> str:
    """A JSON string that holds nothing a fence or a chat template is made of."""
    return json.dumps(text.translate(_HARMLESS), ensure_ascii=False)


def _boxes(context: Context) -> list[str]:
    if context.boxes is None:
        return []
    shown = shown_boxes(context)
    labels = {i: plain(context.boxes[i].label, LABEL_MOST) for i in shown}
    if not context.boxes:
        return ["boxes: none"]
    lines = [f"box:{i} {quoted(labels[i])}{_at(context.boxes[i], context)}" for i in shown]
    number = Counter(plain(box.label, LABEL_MOST) for box in context.boxes)
    told = list(dict.fromkeys(labels.values()))
    if told:
        lines.append("number of boxes: " + ", ".join(f"{quoted(label)} {number[label]}" for label in told))
    left = len(_areas(context)) - len(shown)
    return [*lines, f"{left} smaller ones are not listed"] if left > 0 else lines


def _texts(context: Context) -> list[str]:
    lines = context.texts
    if lines is None:
        return []
    if not lines:
        return ["text: none"]
    return [f"text:{i} {quoted(plain(lines[i].text, LINE_MOST))}{_at(lines[i], context)}" for i in shown_texts(context)]


def _at(box: Box | TextLine, context: Context) -> str:
    corners = region(box, context)
    return "" if corners is None else f" {spelt(corners)}"
