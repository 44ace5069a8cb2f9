"""Questions about the text in a picture."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from stages.synthesize.context import Draft
from stages.synthesize.kinds.base import Example, Kind, Need, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Reply


class Questions(Reply):
    """One to six; as many as the text gives, three at most, are asked for."""

    exchanges: Annotated[list[Exchange], Field(min_length=1, max_length=6)]


EXAMPLES: Mapping[str, Questions] = {
    "en": Questions(
        exchanges=[
            Exchange(
                question="What is written above the woman?", answer='The sign says "FRESH BREAD".', evidence=["text:0"]
            ),
            Exchange(
                question="What does the writing tell about the shop?",
                answer='It sells bread, since the sign reads "FRESH BREAD".',
                evidence=["text:0", "caption"],
            ),
        ]
    ),
    "zh": Questions(
        exchanges=[
            Exchange(question="女士上方写着什么？", answer="招牌上写着“FRESH BREAD”。", evidence=["text:0"]),
            Exchange(
                question="从这些文字能看出这家店卖什么吗？",
                answer="卖面包，因为招牌上写着“FRESH BREAD”，意思是新鲜面包。",
                evidence=["text:0", "caption"],
            ),
        ]
    ),
}


class Text(Kind):
    """Needs lines that OCR read; what is quoted is held against them (Check.invented_text)."""

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "TextVQA, Singh et al. 2019, arXiv:1904.08920; from OCR by a language model: LLaVAR, Zhang et al. 2023,"
        " arXiv:2306.17107, section 3"
    )
    reply: ClassVar[type[BaseModel]] = Questions
    needs: ClassVar[Need] = Need.texts
    completion_tokens: ClassVar[int] = 130
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write one to three questions about the text that can be read in a picture, each with its answer: what it"
            " says, where it stands, what it tells about the thing or the place that bears it. Every answer rests on"
            " lines of text (text:0, text:1 …). Quote letter by letter, in double quotation marks, never more than"
            " what the lines hold; lines may be misread, so leave out what makes no sense. Do not translate quotes."
        ),
        "zh": (
            "请就图片中能读到的文字写一到三个问题及其回答：写着什么，写在哪里，说明了它所在的物品或地点的什么情况。每"
            "个回答都必须以文字行（text:0、text:1……）为依据。引用时逐字照抄，放在双引号中，不得超出文字行的内容；文字"
            "行可能识别有误，不通顺的部分不要用。引文不要翻译。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Questions, task: Task) -> list[Draft]:
        return [talk(self, reply.exchanges, task)]
