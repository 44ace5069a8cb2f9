"""A question, an answer that is right, and one with an error planted in it: a pair for preference training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, Field

from stages.synthesize.context import Draft
from stages.synthesize.facts import COLOURS
from stages.synthesize.kinds import symbols
from stages.synthesize.kinds.base import Example, Kind, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Names, Reply, Said, Unfit


class Planted(StrEnum):
    """Sorts of errors; what the checks call them, where they can find them."""

    absent_object = "absent_object"
    wrong_count = "wrong_count"
    wrong_colour = "wrong_colour"
    wrong_relation = "wrong_relation"
    invented_text = "invented_text"


SORTS: Mapping[str, Mapping[Planted, str]] = {
    "en": {
        Planted.absent_object: "it names an object that is not in the picture, and that could well be there",
        Planted.wrong_count: "it gets a number of objects wrong, by one or two",
        Planted.wrong_colour: "it gives something another colour",
        Planted.wrong_relation: "it puts something on the opposite side: left for right, above for below",
        Planted.invented_text: "it misquotes what is written, by other words that would fit there",
    },
    "zh": {
        Planted.absent_object: "提到一个图中没有、但很可能出现的物体",
        Planted.wrong_count: "把物体的数量说错，相差一两个",
        Planted.wrong_colour: "把某物的颜色说成另一种",
        Planted.wrong_relation: "把位置说成相反的一边：左右颠倒或上下颠倒",
        Planted.invented_text: "引错图中的文字，换成放在那里也说得通的别的词",
    },
}


class Pair(Reply):
    """`error`: what is wrong with the rejected answer, in a few words."""

    question: Said
    chosen: Said
    rejected: Said
    error: Said
    evidence: Names = Field(default_factory=list[str])


EXAMPLES: Mapping[str, Mapping[Planted, Pair]] = {
    "en": {
        Planted.wrong_count: Pair(
            question="What animals are with the woman?",
            chosen="Two dogs on leads walk beside her, one on each side.",
            rejected="Three dogs on leads walk beside her, two of them on one side.",
            error="three dogs instead of two",
            evidence=["caption", "box:1", "box:2"],
        ),
        Planted.absent_object: Pair(
            question="What stands by the wall?",
            chosen="A bicycle leans on the wall, to the right of the woman.",
            rejected="A bicycle leans on the wall, to the right of the woman, next to a bench.",
            error="there is no bench",
            evidence=["caption", "box:0", "box:3"],
        ),
        Planted.wrong_colour: Pair(
            question="How is the woman dressed for the weather?",
            chosen="She wears a yellow raincoat, which suits the wet street.",
            rejected="She wears a red raincoat, which suits the wet street.",
            error="the raincoat is yellow, not red",
            evidence=["caption"],
        ),
        Planted.wrong_relation: Pair(
            question="Where is the bicycle?",
            chosen="It is to the right of the woman, leaning on a wall.",
            rejected="It is to the left of the woman, leaning on a wall.",
            error="the bicycle is on her right, not on her left",
            evidence=["box:0", "box:3"],
        ),
        Planted.invented_text: Pair(
            question="What does the sign say?",
            chosen='The sign says "FRESH BREAD".',
            rejected='The sign says "COFFEE AND CAKE".',
            error="the sign says FRESH BREAD",
            evidence=["text:0"],
        ),
    },
    "zh": {
        Planted.wrong_count: Pair(
            question="女士身边有什么动物？",
            chosen="她身边有两只拴着牵绳的狗，两边各一只。",
            rejected="她身边有三只拴着牵绳的狗，其中两只在同一边。",
            error="狗是两只，不是三只",
            evidence=["caption", "box:1", "box:2"],
        ),
    },
}
"""One for each sort; in Chinese for one sort only."""


class Preference(Kind):
    """The sort of error is drawn with the sample's id among those that the sample allows; `planted` in the draft is the
    sort, a colon, and the teacher's own words for it. The worse answer has to pass all checks of form (reply.py)."""

    name: ClassVar[str] = "preference"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "pairs for DPO, Rafailov et al. 2023, arXiv:2305.18290; a planted hallucination in an answer: POVID, Zhou et"
        " al. 2024, arXiv:2402.11411, section 3"
    )
    reply: ClassVar[type[BaseModel]] = Pair
    completion_tokens: ClassVar[int] = 150
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write one question about a picture and two answers to it, in one or two full sentences each. `chosen` is"
            " right and says nothing that is not certain. `rejected` has exactly one error, of this sort: {}. In"
            " everything else both are alike, in length, style and confidence, so that only the error tells them apart;"
            " nothing in the rejected answer hints that it is wrong. The question must not give the error away. Under"
            " `error` say in a few words what is wrong. `evidence` is the chosen answer's."
        ),
        "zh": (
            "请就一张图片写一个问题和两个回答，每个回答一到两个完整的句子。`chosen` 是正确的，不含任何不确定的内容。"
            "`rejected` 恰好有一个错误，错误类型是：{}。除此之外两个回答在长度、风格和语气上都相同，只有这个错误不同；"
            "错误的回答里不能有任何暗示它错了的话。问题不能透露这个错误。在 `error` 中用几个字说明错在哪里。`evidence`"
            " 是 chosen 的依据。"
        ),
    }

    def instruction(self, task: Task) -> str:
        return self.prompts[task.language].format(SORTS[task.language][planted(task)])

    def examples(self, task: Task) -> Sequence[Example]:
        known = EXAMPLES[task.language]
        sort = planted(task)
        return [Example(STREET[task.language], known[sort])] if sort in known else []

    def drafts(self, reply: Pair, task: Task) -> list[Draft]:
        if " ".join(reply.chosen.split()).casefold() == " ".join(reply.rejected.split()).casefold():
            raise Unfit(f"the rejected answer is the chosen one: {symbols.plain(reply.rejected, 80)}")
        draft = talk(self, [Exchange(question=reply.question, answer=reply.chosen, evidence=reply.evidence)], task)
        error = f"{planted(task)}: {symbols.plain(reply.error, 200)}"
        return [replace(draft, rejected=reply.rejected, planted=error)]


def planted(task: Task) -> Planted:
    """The sort of error that this sample gets."""
    return task.rng("planted").choice([sort for sort in Planted if _allowed(sort, task)])


def _allowed(sort: Planted, task: Task) -> bool:
    context = task.context
    boxes = len(symbols.shown_boxes(context)) if task.told else 0
    if sort is Planted.wrong_count:
        return task.shown or boxes > 0
    if sort is Planted.wrong_relation:
        return task.shown or boxes > 1
    if sort is Planted.invented_text:
        return task.told and bool(symbols.shown_texts(context))
    if sort is Planted.wrong_colour:
        labels = [box.label or "" for box in (context.boxes or ())[: symbols.BOXES_MOST]]
        words = " ".join([*symbols.captions(context), *labels]).lower().split()
        return task.shown or any(word.strip(".,;:!?") in COLOURS for word in words)
    return True
