"""Text as sentences and tokens. English and Chinese punctuation; no model, no dictionary."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.synthesize.words import NUMERALS

_ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "st", "vs", "e.g", "i.e", "etc", "no", "approx"})
_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")
_BULLET = re.compile(r"^(?:[-*•–]|\d{1,2}[.)])\s+(?=\S)")
_TOKEN = re.compile(r"[^\W_]+(?:[-'’.][^\W\d_]+)*|[^\w\s]")

_RUN_ON = 800
"""Characters after which a sentence is cut at a space: the checks look at every pair of its words."""
NUMBERS = {word: value for value, word in enumerate(NUMERALS)}


@dataclass(frozen=True, slots=True)
class Sentence:
    """`tokens`: lower case, punctuation marks as tokens of their own."""

    text: str
    tokens: tuple[str, ...]

    @property
    def asks(self) -> bool:
        return self.text.rstrip("\"'”’)] ").endswith(("?", "？"))


def sentences(text: str) -> list[Sentence]:
    """In order; an abbreviation or a list number ends none."""
    found: list[str] = []
    for piece in _END.split(text):
        if not piece or not piece.strip():
            continue
        if found and _runs_on(found[-1]):
            found[-1] = f"{found[-1]} {piece.strip()}"
        else:
            found += _cut(piece.strip())
    return [Sentence(s, tokens(_BULLET.sub("", s))) for s in found]


def _cut(text: str) -> Iterator[str]:
    at = 0
    while len(text) - at > _RUN_ON:
        end = max(text.rfind(" ", at, at + _RUN_ON), at + _RUN_ON // 2)
        yield text[at:end]
        at = end
    yield text[at:].lstrip()


def _runs_on(text: str) -> bool:
    if not text.endswith("."):
        return False
    last = text.rsplit(maxsplit=1)[-1].rstrip(".").lower()
    return last in _ABBREVIATIONS and not (last == "no" and len(text.split()) == 1)


def tokens(text: str) -> tuple[str, ...]:
    return tuple(t.replace("’", "'") for t in _TOKEN.findall(text.lower()))


def is_word(token: str) -> bool:
    return token[:1].isalnum()


def number(token: str) -> int | None:
    """`three` and `3`; None for anything else, and for numbers that are no count (1990)."""
    if token.isascii() and token.isdigit() and len(token) <= 2:
        return int(token)
    return NUMBERS.get(token)


def normal(text: str) -> str:
    """Lower-case letters and digits, one space between runs: what two texts are compared by."""
    return " ".join(t for t in tokens(text.casefold()) if is_word(t))


def shown(text: str, limit: int = 120) -> str:
    """Evidence, short and on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
