"""A dialogue over several pictures that come one after the other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from stages.synthesize.context import Draft
from stages.synthesize.kinds.base import Kind, Need, Task, talk
from stages.synthesize.kinds.replies import MARK, Exchange, Reply, Said, Unfit


class Shown(Reply):
    """A question about the pictures shown so far. `pictures`: numbers of those that the question needs."""

    pictures: Annotated[list[int], Field(min_length=1, max_length=8)]
    question: Said
    answer: Said


class Dialogue(Reply):
    exchanges: Annotated[list[Shown], Field(min_length=2, max_length=8)]


class Interleaved(Kind):
    """`<image>` stands before the question that first needs a picture; pictures come in the group's order, so that "the
    second picture" is the second `<image>`. Turns name no evidence: its names are one sample's own."""

    name: ClassVar[str] = "interleaved"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "Flamingo, Alayrac et al. 2022, arXiv:2204.14198, section 2.4; several-image instructions: MIMIC-IT, Li et al."
        " 2023, arXiv:2306.05425, and M3IT, arXiv:2306.04387"
    )
    reply: ClassVar[type[BaseModel]] = Dialogue
    needs: ClassVar[Need] = Need.group
    completion_tokens: ClassVar[int] = 300
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write a dialogue of three to five questions about several pictures that are shown one after the other,"
            " each with its answer. The first questions are about the first picture; each further picture comes in with"
            " a question about it. At least two questions compare pictures: what they share, how they differ, in which"
            " of them there is more of something. Call them the first picture, the second picture, and so on, in the"
            " order given. Under `pictures` list the numbers of those that a question needs. Use every picture."
        ),
        "zh": (
            "请就依次出现的几张图片写一段对话，共三到五个问题，各有回答。最初的问题关于第一张图片；之后每张图片都随一"
            "个关于它的问题出现。至少有两个问题要比较图片：有什么共同点，有什么不同，哪一张里某物更多。按给出的顺序称"
            "为第一张图片、第二张图片，依此类推。在 `pictures` 中列出该问题需要的图片编号。每张图片都要用到。"
        ),
    }

    def applies(self, task: Task) -> bool:
        return len(task.contexts) > 1 and super().applies(task)

    def drafts(self, reply: Dialogue, task: Task) -> list[Draft]:
        most, seen = len(task.contexts), 0
        exchanges: list[Exchange] = []
        for shown in reply.exchanges:
            last = max(shown.pictures)
            if min(shown.pictures) < 1 or last > most:
                raise Unfit(f"pictures {shown.pictures} of {most}")
            marks = MARK + "\n"
            question = marks * max(0, last - seen) + shown.question
            seen = max(seen, last)
            exchanges.append(Exchange.model_construct(question=question, answer=shown.answer, evidence=[]))
        if seen < most:
            raise Unfit(f"picture {seen + 1} of {most} is not used")
        return [replace(talk(self, exchanges, task), images=tuple(context.sample_id for context in task.contexts))]

    def examined(self, draft: Draft) -> Draft:
        """Without the marks, which are no words of any language."""
        return replace(draft, turns=tuple((role, text.replace(f"{MARK}\n", "")) for role, text in draft.turns))
