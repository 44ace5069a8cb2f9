"""Captions written anew: a brief one and a full one."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, Field

from stages.synthesize.context import Draft
from stages.synthesize.kinds.base import Example, Kind, Need, Task, talk
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.replies import Exchange, Names, Reply, Said, long_enough

BRIEF_LEAST, FULL_LEAST = 3, 12
"""Words."""

BRIEF: Mapping[str, tuple[str, ...]] = {
    "en": (
        "Write a caption of one sentence for this picture.",
        "Caption this picture briefly.",
        "Sum this picture up in one sentence.",
        "What would be a short caption for this picture?",
    ),
    "zh": ("请用一句话为这张图片写说明。", "请简短地说明这张图片。", "请用一句话概括这张图片。"),
}
FULL: Mapping[str, tuple[str, ...]] = {
    "en": (
        "Write a full caption of several sentences for this picture.",
        "Caption this picture with all that matters in it.",
        "Please caption this picture thoroughly.",
        "What would be a long and exact caption for this picture?",
    ),
    "zh": ("请为这张图片写一段完整的说明。", "请详尽而准确地说明这张图片。", "请写一段包含所有重要内容的图片说明。"),
}
"""Drawn with the sample's id."""


class Captions(Reply):
    """One sentence, and three to six."""

    brief: Said
    full: Said
    evidence: Names = Field(default_factory=list[str])


_RESTS = ["caption", "box:0", "box:1", "box:2", "box:3", "text:0"]
EXAMPLES: Mapping[str, Captions] = {
    "en": Captions(
        brief="A woman in a yellow raincoat walks two dogs past a bakery on a wet street.",
        full=(
            "On a wet street, a woman in a yellow raincoat walks past a bakery. She leads two dogs, one on either side"
            ' of her. A bicycle leans on a wall to the right, and a sign above reads "FRESH BREAD".'
        ),
        evidence=_RESTS,
    ),
    "zh": Captions(
        brief="湿漉漉的街上，一位穿黄色雨衣的女士牵着两只狗走过面包店。",
        full=(
            "湿漉漉的街道上，一位穿黄色雨衣的女士正走过面包店。她牵着两只狗，两边各一只。右侧有一辆自行车靠在墙边，上"
            "方的招牌写着“FRESH BREAD”。"
        ),
        evidence=_RESTS,
    ),
}


class Recaption(Kind):
    """Web captions are noisy: what is not about the picture goes, what boxes, text or the picture show comes in."""

    name: ClassVar[str] = "recaption"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "ShareGPT4V, Chen et al. 2023, arXiv:2311.12793, section 3; BLIP's CapFilt, Li et al. 2022, arXiv:2201.12086,"
        " section 3.3"
    )
    reply: ClassVar[type[BaseModel]] = Captions
    needs: ClassVar[Need] = Need.captions
    completion_tokens: ClassVar[int] = 160
    prompts: ClassVar[Mapping[str, str]] = {
        "en": (
            "Write the caption of a picture anew, twice: under `brief` as one sentence of at most 25 words, under"
            " `full` as three to six sentences. The captions that came with the picture were found on the web: leave"
            " out what is not about the picture (file names, prices, credits, advertising, hashtags, dates), and"
            " whatever the other sources contradict. Keep what they say of the picture, names of places and things"
            " included, and add what is seen besides. Begin with what is shown, not with words such as: The picture"
            " shows."
        ),
        "zh": (
            "请重新撰写一张图片的说明，写两次：`brief` 为一句话，不超过四十个字；`full` 为三到六句。随图片而来的说明来"
            "自网络：与图片无关的内容（文件名、价格、署名、广告、话题标签、日期）以及与其他来源矛盾的内容都要去掉。保"
            "留其中关于图片的内容，包括地名和物品名，并补充能看到的其他内容。直接从画面内容写起，不要以“图片展示了”之"
            "类的话开头。"
        ),
    }

    def examples(self, task: Task) -> Sequence[Example]:
        return [Example(STREET[task.language], EXAMPLES[task.language])]

    def drafts(self, reply: Captions, task: Task) -> list[Draft]:
        rng, found = task.rng(self.name), list[Draft]()
        for asked, said, least in ((BRIEF, reply.brief, BRIEF_LEAST), (FULL, reply.full, FULL_LEAST)):
            long_enough(said, least)
            question = rng.choice(asked[task.language])
            found.append(talk(self, [Exchange(question=question, answer=said, evidence=reply.evidence)], task))
        return found
