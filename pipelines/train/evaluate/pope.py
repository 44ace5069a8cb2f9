"""POPE (arXiv:2305.10355): is an object in the picture? yes and no counted, `yes` being the positive."""

import re
from collections.abc import Iterable

from pipelines.train.evaluate.counting import rows, scored
from schemas.evaluate import Answer, TableRow

_NO = frozenset({"No", "not", "no"})


def said_yes(text: str) -> bool:
    """As POPE's evaluate.py and LLaVA's eval_pope.py read an answer: its first sentence has neither no, No nor not
    as a word of its own. So an empty answer is a yes."""
    first = text.split(".", maxsplit=1)[0].replace(",", "")
    return _NO.isdisjoint(first.split(" "))


def unclear(text: str) -> bool:
    """Neither yes nor no is said as a word: it counts as a yes, and nobody said one."""
    return re.search(r"\b(yes|no|not)\b", text, re.IGNORECASE) is None


def pope_rows(answers: Iterable[Answer]) -> list[TableRow]:
    """By subset (random, popular, adversarial): accuracy, precision, recall, f1, yes_share and unclear, in 0 … 1.

    precision is None where nothing was answered with yes, recall where nothing is there, f1 where both are 0.
    A question that was not asked has the wrong answer, and has no part in yes_share and unclear.
    """
    return rows(answers, _values)


def _values(found: list[Answer]) -> dict[str, float | None]:
    right = [bool(scored(one, lambda a: float(_says(a) == (a.question.answers[0] == "yes")))) for one in found]
    there = [one.question.answers[0] == "yes" for one in found]
    hits = sum(ok and yes for ok, yes in zip(right, there, strict=True))
    false = sum(not ok and not yes for ok, yes in zip(right, there, strict=True))
    missed = sum(there) - hits
    asked = [one for one in found if one.why is None]
    return {
        "accuracy": _share(sum(right), len(found)),
        "precision": _share(hits, hits + false),
        "recall": _share(hits, hits + missed),
        "f1": _share(2 * hits, 2 * hits + false + missed),
        "yes_share": _share(sum(map(_says, asked)), len(asked)),
        "unclear": _share(sum(unclear(one.text) for one in asked), len(asked)),
    }


def _says(answer: Answer) -> bool:
    return said_yes(answer.text)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
