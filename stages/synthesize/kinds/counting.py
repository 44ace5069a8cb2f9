"""How many there are."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel

from schemas.synthesize import TemplateConfig
from stages.synthesize.context import Context, Draft
from stages.synthesize.facts import Facts, fold
from stages.synthesize.kinds import symbols
from stages.synthesize.kinds.base import Example, Kind, Need, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange
from stages.synthesize.kinds.text import Questions

_LIMITS = TemplateConfig()
"""What the template teacher asks nobody to count, this one does not either."""

EXAMPLES: Mapping[str, Questions] = {
    "en": Questions(
        exchanges=[
            Exchange(
                question="How many dogs does the woman lead?",
                answer="She leads two dogs, one on each side.",
                evidence=["box:1", "box:2"],
            ),
            Exchange(question="How many bicycles can be seen?", answer="There is one bicycle.", evidence=["box:3"]),
        ]
    ),
    "zh": Questions(
        exchanges=[
            Exchange(question="女士牵着几只狗？", answer="她牵着两只狗，两边各一只。", evidence=["box:1", "box:2"]),
            Exchange(question="能看到几辆自行车？", answer="有一辆自行车。", evidence=["box:3"]),
        ]
    ),
}


class Counting(Kind):
    """Only of what can be counted: the label is of the vocabulary, so that all of its kind are boxed, and no box is too
    small or doubtful (stages/synthesize/facts.py)."""

    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "TallyQA, Acharya et al. 2019, arXiv:1810.12440; from boxes by a language model: LLaVA, arXiv:2304.08485,"
        " section 3"
    )
    reply: ClassVar[type[BaseModel]] = Questions
    needs: ClassVar[Need] = Need.boxes
    completion_tokens: ClassVar[int] = 120
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write one to three questions about how many of something a picture shows, each with its answer. Ask only"
            " for what is listed under `certain numbers`, once each; all of a kind are counted, however small. Answer"
            " in a full sentence that holds the number as a word, and lists as evidence every box that was counted."
        ),
        "zh": (
            "请写一到三个关于图片中某物数量的问题及其回答。只问 `certain numbers` 中列出的东西，每样问一次；同类的无论"
            "大小全部计入。用完整的句子回答，数字用汉字书写，并把计入的每个框列为依据。"
        ),
    }

    def applies(self, task: Task) -> bool:
        return super().applies(task) and bool(_numbers(task.context))

    def certain(self, task: Task) -> Sequence[str]:
        told = ", ".join(f"{symbols.quoted(label)} {number}" for label, number in _numbers(task.context).items())
        return [f"certain numbers: {told}"] if told else []

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Questions, task: Task) -> list[Draft]:
        return [talk(self, reply.exchanges, task)]


def _numbers(context: Context) -> dict[str, int]:
    """Label → number, of those that are told and can be counted."""
    facts, boxes = Facts(context, _LIMITS.smallest_counted), context.boxes or ()
    labels = dict.fromkeys(symbols.plain(boxes[i].label, symbols.LABEL_MOST) for i in symbols.shown_boxes(context))
    counts = {label: facts.count(fold(label)) for label in labels if fold(label) not in _LIMITS.uncounted}
    return {label: n for label, n in counts.items() if n and n <= _LIMITS.max_count}
