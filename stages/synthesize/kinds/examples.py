"""The picture that the few-shot examples are about: made up, so that nothing of it is anybody's."""

from collections.abc import Mapping

from schemas.sample import Box, TextLine
from stages.synthesize.context import Context

_BOXES = (
    Box(label="person", x=200, y=120, w=120, h=300),
    Box(label="dog", x=330, y=300, w=110, h=110),
    Box(label="dog", x=90, y=310, w=100, h=110),
    Box(label="bicycle", x=460, y=220, w=160, h=180),
)
_TEXTS = (TextLine(text="FRESH BREAD", x=300, y=40, w=200, h=40),)

STREET: Mapping[str, Context] = {
    "en": Context(
        "example-street", 640, 480, boxes=_BOXES, texts=_TEXTS,
        captions=(
            "A woman in a yellow raincoat walks two dogs past a bakery.",
            "Two dogs on leads and a bicycle leaning on a wall, on a wet street.",
        ),
    ),
    "zh": Context(
        "example-street", 640, 480, boxes=_BOXES, texts=_TEXTS, language="zh",
        captions=("一位穿黄色雨衣的女士牵着两只狗走过面包店。", "湿漉漉的街上，两只拴着牵绳的狗，一辆自行车靠在墙边。"),
    ),
}  # fmt: skip
"""By language."""
