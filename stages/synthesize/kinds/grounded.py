"""Answers that say where each thing is that they name.

In the turns a region is `[x1, y1, x2, y2]`, upper left and lower right corner as shares of the picture's width and
height with three decimals, after the words it belongs to: `a dog [0.516, 0.625, 0.688, 0.854]`. Shikra writes regions
so; LLaVA tells them so. The teacher writes the box's name in braces, and the numbers are put in from the box: no model
copies them, so none can be wrong. The first question ends with `PROMPT`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel

from stages.synthesize.context import Draft
from stages.synthesize.kinds import symbols
from stages.synthesize.kinds.base import Example, Kind, Need, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Unfit
from stages.synthesize.kinds.text import Questions

PROMPT: Mapping[str, str] = {
    "en": "Give the region of each thing that you name as [x1, y1, x2, y2].",
    "zh": "请以 [x1, y1, x2, y2] 的形式给出所提到的每样东西的区域。",
}
REGION = re.compile(r" ?\[[01]\.\d{3}(?:, [01]\.\d{3}){3}\]")
"""A region in a turn."""
_NAMED = re.compile(r" ?[{\[(<]\s*box:(\d{1,9})\s*[}\])>]")
_LOOSE = re.compile(r"box:\d")

EXAMPLES: Mapping[str, Questions] = {
    "en": Questions(
        exchanges=[
            Exchange(
                question="Who is out in the street?",
                answer="A woman in a raincoat {box:0}, with a dog {box:2} on her left and one {box:1} on her right.",
                evidence=["box:0", "box:1", "box:2"],
            ),
            Exchange(question="What leans on the wall?", answer="A bicycle {box:3} leans on it.", evidence=["box:3"]),
        ]
    ),
    "zh": Questions(
        exchanges=[
            Exchange(
                question="街上有谁？",
                answer="一位穿黄色雨衣的女士 {box:0}，左边有一只狗 {box:2}，右边也有一只 {box:1}。",
                evidence=["box:0", "box:1", "box:2"],
            ),
            Exchange(question="靠在墙边的是什么？", answer="一辆自行车 {box:3} 靠在墙边。", evidence=["box:3"]),
        ]
    ),
}


class Grounded(Kind):
    """The evidence of an answer is the boxes it names."""

    name: ClassVar[str] = "grounded"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "Shikra, Chen et al. 2023, arXiv:2306.15195, section 4; LLaVA, arXiv:2304.08485, section 3"
    reply: ClassVar[type[BaseModel]] = Questions
    needs: ClassVar[Need] = Need.boxes
    completion_tokens: ClassVar[int] = 160
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write one to three questions about a picture whose answers name objects that are boxed, each with its"
            " answer. In answers, right after each object that you name, put its item in braces, as in: a dog {box:1}."
            " Every answer names at least one, and no object is named without. Several objects under one word take"
            " several braces: two dogs {box:1} {box:2}. Write no numbers of coordinates yourself. Questions hold no"
            " braces. These braces are the only trace of boxes that is allowed."
        ),
        "zh": (
            "请就一张图片写一到三个问题及其回答，回答中要提到有框的物体。在回答里，每提到一个物体，紧接其后用花括号写"
            "上它的项目名，例如：一只狗 {box:1}。每个回答至少提到一个，提到物体就必须带花括号。一个词指多个物体时写多"
            "个花括号：两只狗 {box:1} {box:2}。不要自己写坐标数字。问题中不用花括号。除这些花括号外不得提到框。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Questions, task: Task) -> list[Draft]:
        shown = frozenset(symbols.shown_boxes(task.context))
        spelt = [_spelt(exchange, task, shown) for exchange in reply.exchanges]
        spelt[0] = spelt[0].model_copy(update={"question": f"{spelt[0].question}\n{PROMPT[task.language]}"})
        return [talk(self, spelt, task)]

    def examined(self, draft: Draft) -> Draft:
        """Without regions and without the prompt for them: numbers in brackets are no counts and no leak here."""
        turns = tuple((role, REGION.sub("", text)) for role, text in draft.turns)
        asked = turns[0][1].removesuffix(f"\n{PROMPT[draft.language]}")
        return replace(draft, turns=((turns[0][0], asked), *turns[1:]))


def _spelt(exchange: Exchange, task: Task, shown: frozenset[int]) -> Exchange:
    """Names in braces become regions. Raises Unfit."""
    if _LOOSE.search(exchange.question):
        raise Unfit(f"a question that names a box: {symbols.plain(exchange.question, 80)}")
    named = [int(number) for number in _NAMED.findall(exchange.answer)]
    unknown = [number for number in named if number not in shown]
    if unknown:
        raise Unfit(f"it names box:{unknown[0]}, which is not there")
    if not named:
        raise Unfit(f"an answer that names no region: {symbols.plain(exchange.answer, 80)}")
    boxes = task.context.boxes or ()

    def region(match: "re.Match[str]") -> str:
        corners = symbols.region(boxes[int(match.group(1))], task.context)
        assert corners is not None  # only boxes inside the picture are shown
        return f" {symbols.spelt(corners)}"

    answer = _NAMED.sub(region, exchange.answer)
    if _LOOSE.search(answer):
        raise Unfit(f"a box that is not in braces: {symbols.plain(exchange.answer, 80)}")
    return Exchange(question=exchange.question, answer=answer, evidence=[f"box:{i}" for i in dict.fromkeys(named)])
