"""Caption facts: length, words, repetition, share of non-letters. Counted on the caption as it is, nothing folded.

A word is a run of letters, digits and the marks on them (a letter or digit first); every CJK ideograph is a word of
its own. Two words are the same when they are equal after Unicode case folding.
"""

import re
import unicodedata
from functools import cache
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from schemas.row import Row
from schemas.sample import Captioned, CaptionFacts
from stages.base import Outcome
from stages.measure.base import Measure, MeasureReason

# Unified ideographs with extensions A–I, compatibility ideographs, the iteration mark and the ideographic zero.
_IDEOGRAPHS = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# Unicode has letters, digits and marks in planes 0–3 only, but for variation selectors in plane 14.
_SCANNED = 0x40000
# Variation selectors and the keycap are marks by category but belong to emoji, not to letters.
_EMOJI_MARKS = frozenset({0x20E3, *range(0xFE00, 0xFE10)})


class _Patterns(NamedTuple):
    word: "re.Pattern[str]"
    nonletters: "re.Pattern[str]"


class CaptionMeasure(Measure):
    """Emits CaptionFacts."""

    name: ClassVar[str] = "measure/caption"
    accepts: ClassVar[type[Row]] = Captioned
    emits: ClassVar[type[Row]] = CaptionFacts

    def process(self, batch: pa.Table) -> Outcome:
        captions = batch["caption"].to_pylist()
        facts = [(None,) * 4 if c is None else caption_facts(c) for c in captions]
        names = CaptionFacts.columns()[1:]
        schema = CaptionFacts.arrow_schema()
        found = {n: pa.array([f[i] for f in facts], schema.field(n).type) for i, n in enumerate(names)}
        table = pa.table({"sample_id": batch["sample_id"].combine_chunks(), **found})
        reason = [MeasureReason.MISSING_CAPTION if c is None else None for c in captions]
        return Outcome(table, pa.array(reason, pa.string()))

    def identity(self) -> dict[str, Any]:
        """Adds the version of the Unicode tables, which say what a letter is."""
        return {**super().identity(), "unicode": unicodedata.unidata_version}


def caption_facts(text: str) -> tuple[int, int, float, float]:
    """(characters, words, share of words that repeat an earlier one, share of neither letters nor spaces)."""
    patterns = _patterns()
    words = patterns.word.findall(text)
    repeated = (len(words) - len({w.casefold() for w in words})) / len(words) if words else 0.0
    nonletters = (len(text) - len(patterns.nonletters.sub("", text))) / len(text) if text else 0.0
    return len(text), len(words), repeated, nonletters


@cache
def _patterns() -> _Patterns:
    found: dict[str, list[int]] = {"L": [], "N": [], "M": []}
    for code in range(_SCANNED):
        kind = unicodedata.category(chr(code))[0]
        if kind in found and code not in _EMOJI_MARKS:
            found[kind].append(code)
    letters, digits, marks = (_ranges(codes) for codes in found.values())
    start = f"(?![{_IDEOGRAPHS}])[{letters}{digits}]"
    word = re.compile(f"[{_IDEOGRAPHS}]|{start}(?:{start}|[{marks}])*")
    return _Patterns(word, re.compile(rf"[^{letters}{marks}\s]+"))


def _ranges(codes: list[int]) -> str:
    """The body of a regular expression's character class that holds these code points (ascending)."""
    found: list[str] = []
    first = last = codes[0]
    for code in [*codes[1:], -1]:
        if code != last + 1:
            found.append(f"\\U{first:08x}-\\U{last:08x}")
            first = code
        last = code
    return "".join(found)
