"""From claims to a sentence: many frames, synonyms, orders, and the noise of alt texts.

The same seed gives the same frame and words, so a hard negative differs from the true caption in its error alone.
"""

from __future__ import annotations

from random import Random
from typing import TypeVar

from pipelines.sample_web.backgrounds import Pattern
from pipelines.sample_web.claims import Claims
from pipelines.sample_web.scenes import Group, Relation
from pipelines.sample_web.shapes import Colour, Shape, Size

_T = TypeVar("_T")

COUNT_WORDS: dict[int, tuple[str, ...]] = {
    1: ("a", "a", "a", "one", "a single"),
    2: ("two", "two", "2", "a pair of"),
    3: ("three", "three", "3"),
    4: ("four", "four", "4"),
    5: ("five", "five", "5"),  # 5 and 6 only where a grey picture merges two colours
    6: ("six", "six", "6"),
}
SHAPE_WORDS: dict[Shape, tuple[tuple[str, str], ...]] = {
    Shape.circle: (("circle", "circles"), ("circle", "circles"), ("disc", "discs")),
    Shape.square: (("square", "squares"),),
    Shape.triangle: (("triangle", "triangles"),),
    Shape.star: (("star", "stars"), ("star", "stars"), ("five-pointed star", "five-pointed stars")),
    Shape.ring: (("ring", "rings"), ("ring", "rings"), ("hoop", "hoops")),
    Shape.cross: (("cross", "crosses"), ("cross", "crosses"), ("plus sign", "plus signs")),
    Shape.heart: (("heart", "hearts"),),
    Shape.hexagon: (("hexagon", "hexagons"),),
    Shape.diamond: (("diamond", "diamonds"), ("diamond", "diamonds"), ("rhombus", "rhombuses")),
    Shape.crescent: (("crescent", "crescents"), ("crescent", "crescents"), ("crescent moon", "crescent moons")),
}
COLOUR_WORDS: dict[Colour, tuple[str, ...]] = {
    **{c: (str(c),) for c in Colour},
    Colour.purple: ("purple", "purple", "violet"),
    Colour.turquoise: ("turquoise", "turquoise", "teal"),
}
SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.small: ("small", "little", "tiny"),
    Size.medium: ("medium-sized", "mid-sized"),
    Size.large: ("large", "big"),
}
RELATION_WORDS: dict[Relation, tuple[str, ...]] = {
    Relation.left_of: ("to the left of", "left of", "on the left side of"),
    Relation.right_of: ("to the right of", "right of", "on the right side of"),
    Relation.above: ("above", "higher than"),
    Relation.below: ("below", "lower than", "beneath"),
}
PATTERN_WORDS: dict[Pattern, tuple[str, ...]] = {
    **{p: (str(p),) for p in Pattern},
    Pattern.grainy: ("grainy", "noisy"),
    Pattern.checkered: ("checkered", "checked"),
    Pattern.blurred: ("blurred", "blurry"),
}
FRAMES = (
    "{x} {bg}.", "{x} {bg}", "A picture of {x} {bg}.", "This image shows {x} {bg}.", "{there} {x} {bg}.",
    "{bg}, {x} can be seen.", "{bg} we see {x}.", "An illustration with {x} {bg}", "{x} arranged {bg}.",
    "A simple composition: {x} {bg}.", "I drew {x} {bg} for my class.", "In this picture, {x} {bg}.",
    "Look closely: {x} {bg}!", "A drawing that contains {x} {bg}", "Here {be} {x} {bg}.",
    "My daughter painted {x} {bg} yesterday.", "What you see is {x} {bg}.", "A poster showing {x} {bg}.",
)  # fmt: skip
ALT_TEXT_FRAMES = (
    "{x} - stock photo", "{x} | shapes gallery", "IMG_{n}: {x} {bg}", "{x} {bg}, royalty free vector",
    "free clipart {x}", "{x} :: art print no. {n}", "Buy {x} {bg} online", "{x} [download]", "photo-{n} {x}",
    "{x}, image by @studio_{n} via shapes.example", "{x} #shapes #art #design",
)  # fmt: skip


def sentence(claims: Claims, seed: int | str) -> str:
    """The caption: about one in four in the manner of an alt text."""
    rng = Random(f"words:{seed}")
    frame = rng.choice(ALT_TEXT_FRAMES if rng.random() < 0.25 else FRAMES)
    things = _things(claims, rng)
    plural = claims.groups[0].count > 1
    filled = frame.format(
        x=things,
        bg=_background(claims, rng),
        there="There are" if plural else "There is",
        be="are" if plural else "is",
        n=rng.randrange(1000, 9999),
    )
    return _tidy(filled)


def _things(claims: Claims, rng: Random) -> str:
    phrases = [_group(g, claims.coloured, rng) for g in claims.groups]
    where = rng.random()
    phrase_rng = Random(rng.getrandbits(32))  # the tail draws apart: dropping a relation moves no other word
    tail = "" if claims.coloured else phrase_rng.choice((", black and white", " in greyscale", " in black and white"))
    if claims.relation is not None:
        i, relation, j = claims.relation
        verb = phrase_rng.choice(("", "", "that is ", "sitting "))
        joined = f"{phrases[i]} {verb}{phrase_rng.choice(RELATION_WORDS[relation])} {phrases[j]}"
        phrases = [joined, *(p for k, p in enumerate(phrases) if k not in (i, j))]
    return _listed(phrases, where) + tail


def _group(group: Group, coloured: bool, rng: Random) -> str:
    count_pick, size_pick, colour_pick, shape_pick = (rng.random() for _ in range(4))
    words = [_pick(COUNT_WORDS[group.count], count_pick)]
    if group.size is not None:
        words.append(_pick(SIZE_WORDS[group.size], size_pick))
    if coloured:
        words.append(_pick(COLOUR_WORDS[group.colour], colour_pick))
    words.append(_pick(SHAPE_WORDS[group.shape], shape_pick)[int(group.count > 1)])
    if words[0] == "a" and words[1][0] in "aeiou":
        words[0] = "an"
    return " ".join(words)


def _pick(options: tuple[_T, ...], share: float) -> _T:
    return options[int(share * len(options))]


def _listed(phrases: list[str], how: float) -> str:
    if len(phrases) == 1:
        return phrases[0]
    last = (" and ", " with ", ", plus ", " and also ")[int(how * 4)]
    return ", ".join(phrases[:-1]) + last + phrases[-1]


def _background(claims: Claims, rng: Random) -> str:
    lead, noun, pick = rng.choice(("on", "against", "over")), rng.choice(("background", "backdrop")), rng.random()
    words = [str(claims.tone)] if claims.tone else []
    words += [_pick(PATTERN_WORDS[claims.pattern], pick)] if claims.pattern else []
    return f"{lead} a {' '.join(words)} {noun}" if words else ""


def _tidy(text: str) -> str:
    """One space between words, none before punctuation, no comma left at the start, a capital where a sentence is."""
    text = " ".join(text.split())
    for mark in (".", ",", "!"):
        text = text.replace(f" {mark}", mark)
    text = text.lstrip(", ")
    return text[0].upper() + text[1:] if text[-1] in ".!" else text
