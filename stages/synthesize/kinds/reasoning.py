"""One question that takes thought, answered step by step."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel

from stages.synthesize.context import Draft
from stages.synthesize.kinds.base import Example, Kind, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, long_enough

WORDS_LEAST = 12
"""A shorter answer reasons about nothing."""

EXAMPLES: Mapping[str, Exchange] = {
    "en": Exchange(
        question="What should the woman look out for on this walk, and why?",
        answer=(
            "The street is wet, so the ground may be slippery, and she should walk slowly. She also leads two dogs, one"
            " on each side of her: if both pull in different directions, she could lose her balance. Finally, the"
            " bicycle by the wall narrows the way on her right, so she should keep the leads short there and let the"
            " dogs pass it one after the other."
        ),
        evidence=["caption", "box:0", "box:1", "box:2", "box:3"],
    ),
    "zh": Exchange(
        question="这位女士散步时应当注意什么，为什么？",
        answer=(
            "街道是湿的，地面可能打滑，所以她应当走慢一些。她还牵着两只狗，一边一只，如果它们往不同方向拉，她可能失去"
            "平衡。最后，墙边的自行车使她右侧的路变窄，经过那里时最好收短牵绳，让两只狗先后通过。"
        ),
        evidence=["caption", "box:0", "box:1", "box:2", "box:3"],
    ),
}


class Reasoning(Kind):
    """LLaVA's third kind: the question does not name what the answer has to find out."""

    name: ClassVar[str] = "reasoning"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "LLaVA, Liu et al. 2023, arXiv:2304.08485, section 3: complex reasoning"
    reply: ClassVar[type[BaseModel]] = Exchange
    completion_tokens: ClassVar[int] = 230
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write one question about a picture that takes thought, and its answer. The question goes beyond what can"
            " be read off the picture: reasons, consequences, relations, plans, risks, advice. It must not describe"
            " the scene itself, so that whoever answers has to look. The answer first finds what matters in the"
            " picture, then reasons from it step by step to a conclusion that holds, in three to six sentences. What"
            " is only likely is called likely."
        ),
        "zh": (
            "请就一张图片写一个需要思考的问题及其回答。问题要超出图片上一眼可见的内容：原因、后果、关系、计划、风险或"
            "建议。问题本身不要描述场景，让回答的人必须看图。回答先找出图中的关键内容，再一步步推理，得出站得住的结论"
            "，三到六句。只是可能的事要说明是可能。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Exchange, task: Task) -> list[Draft]:
        long_enough(reply.answer, WORDS_LEAST)
        return [talk(self, [reply], task)]
