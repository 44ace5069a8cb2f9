"""Whether a conversation fits its picture, by CLIP: an option beside the checks that read boxes and text.

Judged is the mean cosine between the picture's embedding, as the build measured it, and each full sentence of the
answers; CLIPScore (arXiv:2104.08718) and CapFilt (arXiv:2201.12086, section 3.3) filter captions so. Conversations of
short answers only, over several pictures, or in a language that the model does not read, are not for it.
"""

import re
from collections.abc import Sequence

import numpy as np

from schemas.conversation import Check, Conversation, Dropped, Role
from stages.measure.clip import ClipMeasure
from stages.synthesize.teacher import TEXT_MOST, Written

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORDS = 4
"""A sentence of fewer says nothing of a picture by itself."""
_SENTENCES = 16
"""Of one conversation; more are not looked at."""


class Fits:
    """Drops what is below `least`. Open it as the measure is."""

    def __init__(self, clip: ClipMeasure, least: float) -> None:
        self.clip, self._least = clip, least

    def judge(self, pictures: Sequence[Sequence[float] | None], written: Sequence[Written]) -> None:
        """`pictures`: unit-length image embeddings, parallel to `written`; None: not measured, not judged."""
        found = [
            (index, one, sentences(one))
            for index, (picture, out) in enumerate(zip(pictures, written, strict=True))
            if picture is not None
            for one in out.conversations
        ]
        texts = [text for _, _, said in found for text in said]
        embedded, at = self.clip.text(texts), 0
        for index, one, said in found:
            rows, at = embedded[at : at + len(said)], at + len(said)
            if not said:
                continue
            score = float(np.mean(rows @ np.asarray(pictures[index], np.float32)))
            if score < self._least:
                written[index].conversations.remove(one)
                written[index].dropped.append(_dropped(one, f"clip {score:.3f} < {self._least:g}"))


def sentences(one: Conversation) -> list[str]:
    """Full sentences of the answers; none where the conversation is about several pictures."""
    if one.images is not None:
        return []
    said = [s for turn in one.turns if turn.role == Role.assistant for s in _SENTENCE.split(turn.text.strip())]
    return [s for s in said if len(s.split()) >= _WORDS][:_SENTENCES]


def _dropped(one: Conversation, evidence: str) -> Dropped:
    text = "\n".join(f"{turn.role}: {turn.text}" for turn in one.turns)
    return Dropped(
        kind=one.kind,
        teacher=one.teacher,
        reason=Check.unlike_picture.value,
        turn=None,
        evidence=evidence,
        text=text[:TEXT_MOST],
        usage=one.usage,
    )
