"""Answers → rows of a table: the mean of a score, over all and by subset."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from schemas.errors import WrongData
from schemas.evaluate import Answer, TableRow

ALL = "all"

Score = Callable[[Answer], float]


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


def by_subset(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """`all`, then each subset in order of its name; no subset where there is but one."""
    everything = list(answers)
    subsets: dict[str, list[Answer]] = {}
    for answer in everything:
        subsets.setdefault(answer.question.subset, []).append(answer)
    split = {name: subsets[name] for name in sorted(subsets)} if len(subsets) > 1 else {}
    return {ALL: everything, **split}


def unanswered(answers: Iterable[Answer]) -> int:
    return sum(answer.why is not None for answer in answers)


def accuracy_rows(answers: Iterable[Answer], score: Score) -> list[TableRow]:
    """`accuracy`: the mean of `score`, in 0 … 1; 0 for a question that was not asked."""
    return rows(answers, lambda found: {"accuracy": mean([scored(answer, score) for answer in found])})


def rows(answers: Iterable[Answer], values: Callable[[list[Answer]], Mapping[str, float | None]]) -> list[TableRow]:
    """A row for all and each subset."""
    return [
        TableRow(name=name, count=len(found), unanswered=unanswered(found), values=dict(values(found)))
        for name, found in by_subset(answers).items()
    ]


def scored(answer: Answer, score: Score) -> float:
    """Raises WrongData for a question without answers, which nobody can score."""
    if not answer.question.answers:
        raise WrongData(
            f"question {answer.question.id} has no answers to score against",
            "score a split that is distributed with its answers (val, dev), or hand the predictions in",
        )
    return 0.0 if answer.why is not None else score(answer)
