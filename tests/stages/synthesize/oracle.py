"""A reader of the template teacher's English that knows a scene's objects, and none of the teacher's code.

It has its own grammar and its own idea of truth: counts of objects by name, and centres compared along an axis.
A sentence that it cannot read fails the test.
"""

import re
from dataclasses import dataclass

NUMBERS = {"none": 0, "no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
IMAGE = r"(?: in (?:the picture|the image|this image))?"
EXISTS = re.compile(rf"(?:Is there|Can you see|Does the picture show) an? ((?!.* or an? )[a-z ]+?){IMAGE}\?")
CHOICE = re.compile(r"(?:Which|Does the picture show)\b.*? an? ([a-z ]+) or an? ([a-z ]+)\?")
COUNT = re.compile(rf"(?:How many|What is the number of) ([a-z ]+?)(?: are there| can you see)?{IMAGE}\?")
COLOUR = re.compile(r"(?:What color is|What is the color of|Which color does) the ([a-z]+)(?: have)?\?")
CLAIM = re.compile(
    r"(?:the )?([a-z ]+?) (?:is )?"
    r"(to the left of|to the right of|above|below|higher in the picture than|lower in the picture than) "
    r"the ([a-z ]+?)(?: and (above it|below it|higher in the picture|lower in the picture))?(?: in the picture)?[.?]"
)
SIDES = {
    "to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1),
    "higher": (1, -1), "lower": (1, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object: its colour, shape, and centre."""

    colour: str
    shape: str
    x: float
    y: float

    def bears(self, name: str) -> bool:
        return name in (self.shape, f"{self.colour} {self.shape}")


def one(plural: str) -> str:
    return plural[:-2] if plural.endswith("crosses") else plural[:-1]


def judge(things: list[Thing], question: str, answer: str, evidence: tuple[str, ...]) -> str:
    """The form of a true exchange; AssertionError says what is false of any other."""
    for form, pattern, check in FORMS:
        match = pattern.fullmatch(question)
        if match:
            assert check(things, match, answer, evidence), f"{question} {answer} {evidence} {things}"
            return form
    return _side(things, question, answer, evidence)


def _named(things: list[Thing], name: str) -> tuple[str, ...]:
    return tuple(f"box:{i}" for i, thing in enumerate(things) if thing.bears(name))


def _exists(things: list[Thing], match: re.Match[str], answer: str, evidence: tuple[str, ...]) -> bool:
    name, found = match[1], _named(things, match[1])
    sentence = re.fullmatch(r"(Yes|No)(?:\.|, there (is|are) (an? |no )?([a-z ]+)\.)?", answer)
    assert sentence, answer
    if sentence[2]:
        said = sentence[4] if sentence[2] == "is" else one(sentence[4])
        assert said == name and (sentence[3] == "no ") == (not found), answer
        assert not found or (len(found) > 1) == (sentence[2] == "are"), answer
    return (sentence[1] == "Yes") == bool(found) and evidence == (found or (f"absent:{name}",))


def _choice(things: list[Thing], match: re.Match[str], answer: str, evidence: tuple[str, ...]) -> bool:
    there = [name for name in match.groups() if _named(things, name)]
    gone = [name for name in match.groups() if name not in there]
    assert len(there) == 1, match[0]
    return answer in (f"A {there[0]}", f"An {there[0]}") and evidence == (
        *_named(things, there[0]),
        f"absent:{gone[0]}",
    )


def _count(things: list[Thing], match: re.Match[str], answer: str, evidence: tuple[str, ...]) -> bool:
    name = one(match[1])
    found = _named(things, name)
    sentence = re.fullmatch(r"(?:There (is|are) ([a-z]+) ([a-z ]+)|([A-Z][a-z]+))\.", answer)
    assert sentence, answer
    if sentence[1]:
        assert sentence[3] == (name if sentence[1] == "is" else match[1]), answer
        assert (sentence[1] == "is") == (sentence[2] == "one"), answer
    return NUMBERS[(sentence[2] or sentence[4]).lower()] == len(found) and evidence == (found or (f"absent:{name}",))


def _colour(things: list[Thing], match: re.Match[str], answer: str, evidence: tuple[str, ...]) -> bool:
    (thing,) = [thing for thing in things if thing.shape == match[1]]
    return answer == thing.colour.capitalize() and evidence == (f"box:{things.index(thing)}",)


def _holds(things: list[Thing], one: str, phrase: str, other: str) -> bool:
    """Whether the only `one` lies on that side of the only `other`."""
    (a,), (b,) = ([t for t in things if t.bears(name)] for name in (one, other))
    axis, sign = SIDES[re.sub(r" (it|in the picture.*)$", "", phrase)]
    apart = (a.x - b.x, a.y - b.y)[axis]
    return apart * sign > 0


def _claims(things: list[Thing], text: str) -> tuple[bool, tuple[str, ...]]:
    match = CLAIM.fullmatch(text[:1].lower() + text[1:])
    assert match, text
    phrases = [phrase for phrase in (match[2], match[4]) if phrase]
    holds = all(_holds(things, match[1], phrase, match[3]) for phrase in phrases)
    return holds, (*_named(things, match[1]), *_named(things, match[3]))


def _side(things: list[Thing], question: str, answer: str, evidence: tuple[str, ...]) -> str:
    where = "where" in question.lower()
    if where or " or " in question:
        holds, boxes = _claims(things, answer)
        about = tuple(f"box:{i}" for i, t in enumerate(things) if f"{t.colour} {t.shape}" in question)
        about = about or tuple(f"box:{i}" for i, t in enumerate(things) if t.shape in question)
        assert holds and evidence == boxes and sorted(boxes) == sorted(about), f"{question} {answer} {evidence}"
        return "where" if where else "left or right"
    word, _, statement = answer.partition(", ")
    holds, boxes = _claims(things, question.removeprefix("Is "))
    assert holds == (word.strip(".") == "Yes") and evidence == boxes, f"{question} {answer} {evidence}"
    assert not statement or _claims(things, statement)[0], f"{question} {answer}"
    return "side"


FORMS = (
    ("choice", CHOICE, _choice),
    ("exists", EXISTS, _exists),
    ("count", COUNT, _count),
    ("colour", COLOUR, _colour),
)
