"""Multiple choice: which letter an answer means, and MMBench's CircularEval."""

import re
from collections.abc import Iterable, Sequence
from string import ascii_uppercase

from pipelines.train.evaluate.counting import by_subset, mean, scored, unanswered
from schemas.errors import WrongData
from schemas.evaluate import Answer, TableRow

_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_SAYS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
_LAST = 4
"""A letter counts among the last words only: earlier ones are mostly articles."""


def letters(choices: Sequence[str]) -> str:
    return ascii_uppercase[: len(choices)]


def letter(said: str, choices: Sequence[str]) -> str | None:
    """The choice that is meant, as VLMEvalKit's can_infer finds it before it asks another model (open-compass/
    VLMEvalKit, vlmeval/utils/matching_util.py, commit e8e78f0): a single letter among the last words; "the answer is
    B"; or the one choice whose words are in an answer not much longer than all of them. None: no choice, which is
    wrong (its `exact_matching` mode)."""
    words = said.translate(_MARKS).split()
    named = [one for one in letters(choices) if one in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - _LAST - 1:
        return named[0]
    found = _SAYS.search(said)
    if found is not None and found[1].upper() in letters(choices):
        return found[1].upper()
    if len(said) > 2 * sum(map(len, choices)):
        return None
    inside = [one for one, text in zip(letters(choices), choices, strict=True) if text.lower() in said.lower()]
    return inside[0] if len(inside) == 1 else None


def mmbench_rows(answers: Iterable[Answer]) -> list[TableRow]:
    """By category. `circular`: MMBench's CircularEval (arXiv:2307.06281, section 4.1): a question is right when it is
    in every pass over its rotated choices; None where a question has fewer passes than choices. `accuracy`: of the
    first pass alone. `unread`: share of asked passes of which no letter could be read. Rows count questions, not
    passes."""
    out = []
    for name, found in by_subset(answers).items():
        groups: dict[str, list[Answer]] = {}
        for answer in found:
            groups.setdefault(answer.question.group or answer.question.id, []).append(answer)
        out.append(_row(name, groups, found))
    return out


def _row(name: str, groups: dict[str, list[Answer]], found: list[Answer]) -> TableRow:
    whole = all(len(passes) >= len(passes[0].question.choices) for passes in groups.values())
    firsts = [_first(group, passes) for group, passes in groups.items()]
    asked = [one for one in found if one.why is None]
    values = {
        "circular": mean([min(scored(one, _right) for one in passes) for passes in groups.values()]) if whole else None,
        "accuracy": mean([scored(one, _right) for one in firsts]),
        "unread": mean([float(letter(one.text, one.question.choices) is None) for one in asked]),
    }
    return TableRow(name=name, count=len(groups), unanswered=unanswered(firsts), values=values)


def _first(group: str, passes: list[Answer]) -> Answer:
    """The pass whose choices stand as the question has them."""
    found = [one for one in passes if one.question.id == group or not one.question.group]
    if len(found) != 1:
        raise WrongData(f"question {group}: {len(found)} first passes", "answer every question of the file, once")
    return found[0]


def _right(answer: Answer) -> float:
    return float(letter(answer.text, answer.question.choices) == answer.question.answers[0])
