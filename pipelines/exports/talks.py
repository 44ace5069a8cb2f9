"""A conversation on its way out: what every format has in common, and why one is in no file."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.exports.read import Sample
from schemas.conversation import Conversation, Role

MARKER = "<image>"
"""Stands for a picture in a text: LLaVA's, LLaMA-Factory's, and of kind interleaved."""
_MARKERS = (MARKER, "<video>", "<audio>")
"""LLaMA-Factory counts these; one too many, and it refuses the record."""
ASK = (
    "Describe this picture in a sentence.",
    "What does this picture show?",
    "Say in short what is to be seen here.",
    "Give a brief caption for this picture.",
    "Summarize what is in the picture.",
    "Write a short description of the picture.",
    "What is in this picture? Answer briefly.",
    "Caption this picture.",
)
"""Questions before a caption; a sample's id chooses. LLaVA's projector alignment drops them (arXiv:2304.08485, 4.2)."""


class Left(StrEnum):
    """Why a conversation, or a sample without one, is in no file."""

    no_conversation = "no_conversation"
    other_kind = "other_kind"
    """Of a kind that was not asked for."""
    pair = "pair"
    """A preference pair, for which LLaVA's format has no place."""
    picture_missing = "picture_missing"
    """One of its several pictures is in no shard: that sample was rejected after it was written about."""
    image_markers = "image_markers"
    """Its `<image>` are not as many as its pictures, or stand in an answer; consumers would refuse or misread it."""
    roles = "roles"
    """Its turns do not go question, answer, question, answer."""
    no_caption = "no_caption"


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation, whatever the format."""

    id: str
    kind: str
    group: str
    """What its file's name adds to the split: nothing, `_several`, `_pairs`, `_captions`."""
    turns: list[tuple[str, str]]
    """(role, text) with one MARKER per picture in the questions; question first, answer last."""
    images: list[str]
    """sample_ids, in the order of the markers."""
    rejected: str | None
    """The worse answer, where the last turn is the better one."""
    provenance: dict[str, Any]


def talks(sample: Sample, number: int, said: Conversation) -> Talk | Left:
    """The `number`-th conversation of a sample."""
    turns = [(turn.role, turn.text) for turn in said.turns]
    images = said.images or [sample.sample_id]
    if not said.images and turns:
        if _marked(turns) or _marked([("", said.rejected or "")]):
            return Left.image_markers
        turns[0] = (turns[0][0], f"{MARKER}\n{turns[0][1]}")
    why = _unfit(turns, len(images), said.rejected)
    if why is not None:
        return why
    group = "_pairs" if said.rejected is not None else "_several" if len(images) > 1 else ""
    identity = f"{sample.sample_id}-{number}"
    return Talk(identity, said.kind, group, turns, images, said.rejected, provenance(sample.sample_id, said))


def caption_talk(sample: Sample) -> Talk | Left:
    """One question and the sample's caption."""
    caption = (sample.caption or "").strip()
    if not caption:
        return Left.no_caption
    if _marked([("", caption)]):
        return Left.image_markers
    drawn = int.from_bytes(hashlib.sha256(f"ask:{sample.sample_id}".encode()).digest()[:4], "big")
    turns = [(Role.user.value, f"{MARKER}\n{ASK[drawn % len(ASK)]}"), (Role.assistant.value, caption)]
    said = _row(sample.sample_id, "caption", "pool", ["", "caption"])
    return Talk(f"{sample.sample_id}-caption", "caption", "_captions", turns, [sample.sample_id], None, said)


def provenance(sample_id: str, said: Conversation) -> dict[str, Any]:
    """Who wrote it, from what, for how much."""
    row = _row(sample_id, said.kind, said.teacher, ["; ".join(turn.evidence) for turn in said.turns])
    row |= {"prompt_version": said.prompt_version, "language": said.language, "repaired": said.repaired}
    row["planted"] = said.planted or ""
    if said.usage is not None:
        row |= {name: getattr(said.usage, name) for name in ("prompt_tokens", "completion_tokens")}
        row["cost"] = float(said.usage.cost)
    return row


def _row(sample_id: str, kind: str, teacher: str, evidence: list[str]) -> dict[str, Any]:
    """Every field in every record and never null: readers that infer column types from the first rows
    (datasets, so LLaMA-Factory, TRL and Axolotl) stop at a later row of another type."""
    return {
        "sample_id": sample_id,
        "kind": kind,
        "teacher": teacher,
        "prompt_version": 0,
        "language": "",
        "repaired": False,
        "planted": "",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": 0.0,
        "evidence": evidence,
    }


def _marked(turns: list[tuple[str, str]]) -> bool:
    return any(marker in text for _, text in turns for marker in _MARKERS)


def _unfit(turns: list[tuple[str, str]], pictures: int, rejected: str | None) -> Left | None:
    roles = [Role.user.value, Role.assistant.value] * (len(turns) // 2)
    if not turns or [role for role, _ in turns] != roles:
        return Left.roles
    answers = [*turns[1::2], ("", rejected or "")]
    others = [("", text.replace(MARKER, "")) for _, text in turns]
    if _marked(answers) or _marked(others) or sum(text.count(MARKER) for _, text in turns) != pictures:
        return Left.image_markers
    return None
