"""Open answers against those of people: VQAv2's soft score, TextVQA's, and GQA's exact match."""

from collections.abc import Iterable, Sequence

from pipelines.train.evaluate.counting import accuracy_rows
from pipelines.train.evaluate.normalise import evalai, normalised, plain
from schemas.evaluate import Answer, TableRow

ENOUGH = 3
"""People who have to have said it for a full score (arXiv:1505.00468, section 3)."""


def soft(said: str, people: Sequence[str]) -> float:
    """min(people that said it / 3, 1), averaged over leaving each of them out: 0, 0.3, 0.6, 0.9 or 1 of ten people."""
    if not people:
        return 0.0
    same = [one == said for one in people]
    return sum(min((sum(same) - one) / ENOUGH, 1.0) for one in same) / len(people)


def vqav2(said: str, people: Sequence[str]) -> float:
    """As the official evaluation does it (GT-Vision-Lab/VQA, vqaEval.py): where all people say the same, nothing but
    white space is normalised, so "Yes." is no "yes"."""
    answer, right = plain(said), [plain(one) for one in people]
    if len(set(right)) > 1:
        answer, right = normalised(answer), [normalised(one) for one in right]
    return soft(answer, right)


def vqav2_server(said: str, people: Sequence[str]) -> float:
    """The answer through EvalAI's normalisation first, as LLaVA hands it in (haotian-liu/LLaVA,
    scripts/convert_vqav2_for_submission.py): what published figures of chat models are."""
    return vqav2(evalai(said), people)


def textvqa(said: str, people: Sequence[str]) -> float:
    """As LLaVA and lmms-eval score TextVQA (haotian-liu/LLaVA, llava/eval/m4c_evaluator.py): normalised in any case."""
    return soft(evalai(said), [evalai(one) for one in people])


def gqa(said: str, right: str) -> float:
    """GQA's eval.py compares strings; the answer is made one of its kind first, as LLaVA does
    (scripts/convert_gqa_for_eval.py): lower case, no period at the end."""
    return float(said.strip().rstrip(".").lower() == right)


def vqav2_rows(answers: Iterable[Answer]) -> list[TableRow]:
    """`accuracy` is `vqav2_server`'s, `as_said` that of the words as they are; subsets: yes/no, number, other."""
    found = list(answers)
    strict = accuracy_rows(found, lambda one: vqav2(one.text, one.question.answers))
    usual = accuracy_rows(found, lambda one: vqav2_server(one.text, one.question.answers))
    return [
        row.model_copy(update={"values": {**row.values, "as_said": other.values["accuracy"]}})
        for row, other in zip(usual, strict, strict=True)
    ]


def textvqa_rows(answers: Iterable[Answer]) -> list[TableRow]:
    return accuracy_rows(answers, lambda one: textvqa(one.text, one.question.answers))


def gqa_rows(answers: Iterable[Answer]) -> list[TableRow]:
    """Subsets: the structural types; `query` is what eval.py calls open, the others together binary."""
    return accuracy_rows(answers, lambda one: gqa(one.text, one.question.answers[0]))
