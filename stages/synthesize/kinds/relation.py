"""Where things are, seen from each other."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar

from pydantic import BaseModel

from stages.synthesize.context import Draft
from stages.synthesize.kinds import symbols
from stages.synthesize.kinds.base import Example, Kind, Need, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange
from stages.synthesize.kinds.text import Questions
from stages.synthesize.relations import relation

EXAMPLES: Mapping[str, Questions] = {
    "en": Questions(
        exchanges=[
            Exchange(
                question="Is the bicycle to the left or to the right of the woman?",
                answer="The bicycle is to the right of the woman.",
                evidence=["box:0", "box:3"],
            ),
            Exchange(
                question="Which object is furthest to the right?",
                answer="The bicycle is, leaning on the wall.",
                evidence=["box:0", "box:1", "box:2", "box:3"],
            ),
        ]
    ),
    "zh": Questions(
        exchanges=[
            Exchange(
                question="自行车在女士的左边还是右边？", answer="自行车在女士的右边。", evidence=["box:0", "box:3"]
            ),
            Exchange(
                question="最右边的是什么？",
                answer="最右边的是靠在墙边的自行车。",
                evidence=["box:0", "box:1", "box:2", "box:3"],
            ),
        ]
    ),
}


class Relation(Kind):
    """Asked where at least one pair lies clearly to a side of each other (stages/synthesize/relations.py)."""

    name: ClassVar[str] = "relation"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "GQA, Hudson and Manning 2019, arXiv:1902.09506; Visual Spatial Reasoning, Liu et al. 2022, arXiv:2205.00363"
    )
    reply: ClassVar[type[BaseModel]] = Questions
    needs: ClassVar[Need] = Need.boxes
    completion_tokens: ClassVar[int] = 140
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write one to three questions about where things in a picture lie, seen from each other, each with its"
            " answer: left or right of, above or below, between, furthest to a side. Choose pairs whose boxes hardly"
            " overlap along the direction asked about. Name things so that nobody can mistake which one is meant: where"
            " there are several of a kind, say which, or ask about something else. Vary open questions, choices and"
            " yes-or-no questions; as many are answered No as Yes. Answer in a full sentence. A smaller x is further"
            " left, a smaller y is higher up."
        ),
        "zh": (
            "请写一到三个关于图片中物体相互位置的问题及其回答：左边或右边、上面或下面、中间、最靠哪一边。选择在所问方"
            "向上几乎不重叠的物体。要让人清楚知道指的是哪一个：同类有多个时说明是哪个，或者改问别的。交替使用开放题、"
            "选择题和是非题；答案为“是”和“否”的数量相同。用完整的句子回答。x 越小越靠左，y 越小越靠上。"
        ),
    }

    def applies(self, task: Task) -> bool:
        context = task.context
        shown = [(context.boxes or ())[i] for i in symbols.shown_boxes(context)]
        return super().applies(task) and any(
            relation(a, b, context.width, context.height) for a, b in combinations(shown, 2)
        )

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Questions, task: Task) -> list[Draft]:
        return [talk(self, reply.exchanges, task)]
