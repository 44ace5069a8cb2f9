"""One detailed description of one picture."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel

from stages.synthesize.context import Draft
from stages.synthesize.kinds.base import Example, Kind, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Told, long_enough

WORDS_LEAST = 20
"""A shorter text is no detailed description."""

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "en": (
        "Describe this picture in detail.",
        "What can you see in this picture? Please be thorough.",
        "Walk me through everything that this picture shows.",
        "Give a full account of this scene.",
        "Please write a detailed description of what is shown here.",
        "Can you describe this scene for somebody who cannot see it?",
        "Tell me about this picture, with all its details.",
        "What does this picture show? Leave out nothing that matters.",
    ),
    "zh": (
        "请详细描述这张图片。",
        "这张图片里有什么？请尽量说得全面。",
        "请带我看一遍这张图片里的所有内容。",
        "请完整地讲述这个场景。",
        "请为看不见图片的人描述一下这个场景。",
        "请说说这张图片，不要遗漏重要的细节。",
    ),
}
"""Drawn with the sample's id: the question is no part of the reply (LLaVA does the same, from a list of its own)."""

EXAMPLES: Mapping[str, Told] = {
    "en": Told(
        text=(
            "A woman in a yellow raincoat is walking along a wet street, past a bakery. She is near the middle of the"
            " picture and has two dogs on leads: one walks on her left, the other on her right. Further to the right,"
            ' a bicycle is leaning on a wall. Above, a sign reads "FRESH BREAD", which fits the bakery. The wet ground'
            " and the raincoat tell of rain."
        ),
        evidence=["caption", "box:0", "box:1", "box:2", "box:3", "text:0"],
    ),
    "zh": Told(
        text=(
            "一位穿黄色雨衣的女士正沿着湿漉漉的街道走过一家面包店。她位于画面中部偏左，牵着两只狗，一只在她左边，另一"
            "只在她右边，都拴着牵绳。再往右，一辆自行车靠在墙边。上方的招牌写着“FRESH BREAD”，与面包店相符。湿润的地面"
            "和雨衣说明刚下过雨或正在下雨。"
        ),
        evidence=["caption", "box:0", "box:1", "box:2", "box:3", "text:0"],
    ),
}


class Detail(Kind):
    """LLaVA's second kind."""

    name: ClassVar[str] = "detail"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "LLaVA, Liu et al. 2023, arXiv:2304.08485, section 3: detailed description"
    reply: ClassVar[type[BaseModel]] = Told
    completion_tokens: ClassVar[int] = 220
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Describe a picture in detail, as one flowing text of four to eight sentences under `text`: what is shown"
            " as a whole, then the objects with their kinds, numbers, places and how they lie to each other, then what"
            " they do and what is written. Turn places into words such as left, right, in the middle, in front."
        ),
        "zh": (
            "请详细描述一张图片，写成一段连贯的文字（四到八句），放在 `text` 中：先写整体内容，再写各个物体及其种类、"
            "数量、位置和相互关系，最后写它们在做什么、写着什么字。位置要用左、右、中间、前面等词语表达。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Told, task: Task) -> list[Draft]:
        question = task.rng(self.name).choice(QUESTIONS[task.language])
        text = long_enough(reply.text, WORDS_LEAST)
        return [talk(self, [Exchange(question=question, answer=text, evidence=reply.evidence)], task)]
