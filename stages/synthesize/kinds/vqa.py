"""Questions that one word or a short phrase answers."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from schemas.synthesize import SHORT
from stages.synthesize.context import Context, Draft
from stages.synthesize.facts import Facts, fold
from stages.synthesize.kinds import symbols
from stages.synthesize.kinds.base import Example, Kind, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Reply, Unfit

PROMPT: Mapping[str, str] = {"en": SHORT, "zh": "请用一个词或短语回答。"}
"""Follows the first question (LLaVA-1.5)."""
WORDS_MOST, CHARACTERS_MOST = 8, 30
"""A longer answer is none for this kind; characters count where it is not ASCII."""
_ABSENT = 3
"""Labels that are told to be absent, where the vocabulary decides that."""
_DRAWN = 12
"""Labels among which they are looked for: a vocabulary may be the whole pool's."""


class Short(Reply):
    """Two to ten; six are asked for."""

    exchanges: Annotated[list[Exchange], Field(min_length=2, max_length=10)]


EXAMPLES: Mapping[str, Short] = MappingProxyType({
    "en": Short(exchanges=[
        Exchange(question="What colour is the raincoat?", answer="Yellow", evidence=["caption"]),
        Exchange(question="Is the street dry?", answer="No", evidence=["caption"]),
        Exchange(question="How many dogs are there?", answer="Two", evidence=["caption", "box:1", "box:2"]),
        Exchange(question="Are the dogs on leads?", answer="Yes", evidence=["caption"]),
        Exchange(question="What leans on the wall?", answer="A bicycle", evidence=["caption", "box:3"]),
        Exchange(question="What does the sign say?", answer="FRESH BREAD", evidence=["text:0"]),
    ]),
    "zh": Short(exchanges=[
        Exchange(question="雨衣是什么颜色？", answer="黄色", evidence=["caption"]),
        Exchange(question="街道是干的吗？", answer="不是", evidence=["caption"]),
        Exchange(question="有几只狗？", answer="两只", evidence=["caption", "box:1", "box:2"]),
        Exchange(question="狗拴着牵绳吗？", answer="是的", evidence=["caption"]),
        Exchange(question="靠在墙边的是什么？", answer="自行车", evidence=["caption", "box:3"]),
        Exchange(question="店铺上写着什么？", answer="“FRESH BREAD”", evidence=["text:0"]),
    ]),
})  # fmt: skip


class Vqa(Kind):
    """As VQAv2 and GQA; yes and no in equal number, since a model that hears mostly yes learns to say it (POPE)."""

    name: ClassVar[str] = "vqa"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "VQA v2, Goyal et al. 2017, arXiv:1612.00837; LLaVA-1.5, Liu et al. 2023, arXiv:2310.03744, section 3.2; POPE,"
        " Li et al. 2023, arXiv:2305.10355"
    )
    reply: ClassVar[type[BaseModel]] = Short
    completion_tokens: ClassVar[int] = 230
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write six short questions about a picture, each on another matter: objects, colours, numbers, places, what"
            " is done, what is written. Answer each with one word or a short phrase of at most five words, without a"
            " full stop. Where you ask yes-or-no questions, ask as many whose answer is No as whose answer is Yes. That"
            " something is not there may be asked only where it is certain: what is listed as absent, named"
            " `absent:…` in `evidence`."
        ),
        "zh": (
            "请就一张图片写六个简短的问题，每个问题问不同的方面：物体、颜色、数量、位置、动作、文字。每个问题用一个词"
            "或不超过十个字的短语回答，不加句号，引用的文字放在双引号中。如果问是非题，答案为“是”和“否”的题目数量要相同。只有确定不存在的东西"
            "才可以问它是否存在：即列为 absent 的内容，在 `evidence` 中写作 `absent:…`。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def certain(self, task: Task) -> Sequence[str]:
        labels = _absent(task)
        return ["absent: " + ", ".join(map(symbols.quoted, labels))] if labels else []

    def drafts(self, reply: Short, task: Task) -> list[Draft]:
        short = [exchange.model_copy(update={"answer": _short(exchange.answer)}) for exchange in reply.exchanges]
        asked = f"{short[0].question}\n{PROMPT[task.language]}"
        short[0] = short[0].model_copy(update={"question": asked})
        return [talk(self, short, task, _absent(task))]


def _short(answer: str) -> str:
    bare = answer.rstrip(".。") or answer
    if len(bare.split()) > WORDS_MOST or (not bare.isascii() and len(bare) > CHARACTERS_MOST):
        raise Unfit(f"an answer of more than a short phrase: {symbols.plain(bare, 80)}")
    return bare


def _absent(task: Task) -> list[str]:
    """A few labels, drawn with the sample's id, that the boxes decide are not there and no caption speaks of."""
    context = task.context
    if not task.told or context.boxes is None:
        return []
    facts, told = Facts(context), _speech(context)
    drawn = task.rng("absent").sample(sorted(context.vocabulary), min(_DRAWN, len(context.vocabulary)))
    gone = [label for label in drawn if fold(label) not in told and facts.absent(fold(label))]
    return [plain for label in gone if (plain := symbols.plain(label, symbols.LABEL_MOST))][:_ABSENT]


def _speech(context: Context) -> str:
    return fold(" ".join([*symbols.captions(context), *(line.text[:200] for line in (context.texts or ())[:40])]))
