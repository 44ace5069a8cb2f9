"""MMMU (arXiv:2311.16502): multiple choice and open questions, read as its own evaluation reads them.

MMMU-Benchmark/MMMU, mmmu/utils/eval_utils.py, commit bb0b95a. One difference: where no choice can be read, the official
code draws one with a generator seeded once, so that a score depends on the order of questions; here the question's id
draws it. `guessed` says how often.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

from pipelines.train.evaluate.choices import letters
from pipelines.train.evaluate.counting import mean, rows, scored
from schemas.evaluate import Answer, TableRow

_ENDS = ",.!?;:'"
_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_EMPTY = frozenset(":,.!?;'")
_LONG = 5
"""More words than this, and a choice may be named by its words instead of its letter."""
_NUMBERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"-?\b\d{1,3}(?:,\d{3})+\b",
        r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
        r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
    )
)
Value = str | float


def choice(said: str, choices: Sequence[str]) -> str | None:
    """The letter that is meant: the last one in brackets, or that stands alone, or whose words are in a long answer."""
    for mark in _ENDS:
        said = said.strip(mark)
    said = f" {said} "
    for form in ("({})", " {} "):
        places = {one: said.rfind(form.format(one)) for one in letters(choices)}
        if max(places.values(), default=-1) >= 0:
            return max(places, key=lambda one: places[one])
    if len(said.split()) <= _LONG:
        return None
    places = {one: said.lower().rfind(text.lower()) for one, text in zip(letters(choices), choices, strict=True)}
    return max(places, key=lambda one: places[one]) if max(places.values(), default=-1) >= 0 else None


def guess(question_id: str, choices: Sequence[str]) -> str:
    """A choice drawn by the question's id."""
    drawn = int.from_bytes(hashlib.sha256(f"mmmu:{question_id}".encode()).digest()[:8], "big")
    return letters(choices)[drawn % len(choices)]


def open_values(said: str) -> set[Value]:
    """What an answer in words says: its last clauses, and the numbers in them."""
    keys = _keys(said.strip().strip(".").lower())
    found = [*keys, *(number for key in keys for pattern in _NUMBERS for number in pattern.findall(key))]
    return {value for text in found for value in comparable(text)}


def open_right(said: str, answers: Sequence[str]) -> bool:
    """A number equal to two decimals, or words in which the answer is found."""
    right = [value for one in answers for value in comparable(one)]
    words = [one for one in right if isinstance(one, str)]
    return any(
        any(word in value for word in words) if isinstance(value, str) else value in right
        for value in open_values(said)
    )


def comparable(text: str) -> list[Value]:
    """A number to two decimals; or in lower case, a single letter with a space on either side."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def mmmu_rows(answers: Iterable[Answer]) -> list[TableRow]:
    """By subject: accuracy, and the share of questions of which a choice was guessed."""

    def values(found: list[Answer]) -> dict[str, float | None]:
        guessed = [float(one.why is None and _guessed(one)) for one in found]
        return {"accuracy": mean([scored(one, _right) for one in found]), "guessed": mean(guessed)}

    return rows(answers, values)


def _guessed(answer: Answer) -> bool:
    choices = answer.question.choices
    return bool(choices) and choice(answer.text, choices) is None


def _right(answer: Answer) -> float:
    asked = answer.question
    if not asked.choices:
        return float(open_right(answer.text, asked.answers))
    return float((choice(answer.text, asked.choices) or guess(asked.id, asked.choices)) in asked.answers)


def _keys(said: str) -> list[str]:
    """Of each line, what comes after the last "is", "so" …: the shortest of these. The whole, where there is none."""
    lines = said.split("\n")
    out: list[str] = []
    indicators = _INDICATORS
    for i, line in enumerate(lines):
        if i == len(lines) - 1:
            indicators = (*indicators, "=")
        tails = [line.split(one)[-1].strip() for one in indicators if one in line]
        shortest = _shortest(tails)
        if shortest and shortest not in _EMPTY:
            out.append(shortest)
    return out or [said]


def _shortest(tails: list[str]) -> str:
    """The first among equals; an empty one gives way to whatever comes after it, and is taken after another."""
    best = ""
    for tail in tails:
        if not best or len(tail) < len(best):
            best = tail
    return best
