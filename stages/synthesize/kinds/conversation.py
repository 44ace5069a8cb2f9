"""Several questions and answers about one picture."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from stages.synthesize.context import Draft
from stages.synthesize.kinds.base import Example, Kind, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Reply


class Exchanges(Reply):
    """Two to eight; four are asked for."""

    exchanges: Annotated[list[Exchange], Field(min_length=2, max_length=8)]


EXAMPLES: Mapping[str, Exchanges] = MappingProxyType({
    "en": Exchanges(exchanges=[
        Exchange(
            question="What is the woman wearing?", answer="She is wearing a yellow raincoat.", evidence=["caption"]
        ),
        Exchange(
            question="How many dogs are with her?",
            answer="Two dogs are with her, both on leads.",
            evidence=["caption", "box:1", "box:2"],
        ),
        Exchange(
            question="On which side of the woman is the bicycle?",
            answer="The bicycle is to the right of her, leaning on a wall.",
            evidence=["caption", "box:0", "box:3"],
        ),
        Exchange(
            question="What does the sign say?", answer='The sign says "FRESH BREAD".', evidence=["text:0", "caption"]
        ),
    ]),
    "zh": Exchanges(exchanges=[
        Exchange(question="这位女士穿着什么？", answer="她穿着一件黄色雨衣。", evidence=["caption"]),
        Exchange(
            question="她身边有几只狗？",
            answer="她身边有两只狗，都拴着牵绳。",
            evidence=["caption", "box:1", "box:2"],
        ),
        Exchange(
            question="自行车在女士的哪一边？",
            answer="自行车在她的右边，靠着墙。",
            evidence=["caption", "box:0", "box:3"],
        ),
        Exchange(question="店铺上写着什么字？", answer="上面写着“FRESH BREAD”。", evidence=["text:0"]),
    ]),
})  # fmt: skip


class Conversation(Kind):
    """LLaVA's first kind: what is there, how many, where, what it does; only questions with a certain answer."""

    name: ClassVar[str] = "conversation"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "LLaVA, Liu et al. 2023, arXiv:2304.08485, section 3: conversation"
    reply: ClassVar[type[BaseModel]] = Exchanges
    completion_tokens: ClassVar[int] = 260
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write a conversation between a person who asks about a picture and an assistant who sees it: four"
            " questions, each with its answer. Ask different things as far as the picture has them: which objects"
            " there are and what kind they are, what they do, how many, where they are, how they lie to each other,"
            " what is written. Every question must have one certain answer. Answer in one or two full sentences,"
            " friendly and exact. The last question may ask for background that follows from what is seen."
        ),
        "zh": (
            "请写一段对话：一个人就一张图片提问，一个看着图片的助手回答。共四个问题，各有回答。在图片内容允许的范围内"
            "问不同的事：有哪些物体、属于什么种类、在做什么、有几个、在哪里、彼此的位置关系、写着什么字。每个问题都必"
            "须有唯一确定的答案。用一两个完整的句子回答，亲切而准确。最后一个问题可以问由所见内容引出的背景知识。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Exchanges, task: Task) -> list[Draft]:
        return [talk(self, reply.exchanges, task)]
