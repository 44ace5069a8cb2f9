"""Synthesized conversations: turns, who wrote them, what they cost, and what a check found in them."""

from enum import StrEnum

from schemas.row import Int32, Row


class Role(StrEnum):
    """Of OpenAI's chat messages. The system prompt is the kind's, not the conversation's."""

    user = "user"
    assistant = "assistant"


class Turn(Row):
    """One message of a conversation."""

    role: str
    """user or assistant"""
    text: str
    evidence: list[str]
    """What the turn rests on: `box:3` (index into the sample's boxes), `caption`, `text:0` (index into its text lines),
    `absent:dog`; empty where the teacher named none."""


class Usage(Row):
    """What one reply took, as the endpoint counted."""

    prompt_tokens: Int32
    completion_tokens: Int32
    cost: float
    """In the currency of the recipe's price table."""


class Conversation(Row):
    """A kept conversation about one sample, or a preference pair."""

    sample_id: str
    kind: str
    """The prompt module that asked for it."""
    prompt_version: Int32
    teacher: str
    """Model name, or `template`."""
    language: str
    """ISO 639-1: en, zh."""
    turns: list[Turn]
    rejected: str | None
    """kind preference: the worse answer to the last question."""
    planted: str | None
    """kind preference: the error planted in it."""
    usage: Usage | None
    """Null for templates."""


class Check(StrEnum):
    """Why a conversation is not kept."""

    bad_schema = "bad_schema"
    bad_roles = "bad_roles"
    refusal = "refusal"
    leak = "leak"
    """It speaks of the caption or the boxes, which a reader of the picture does not have."""
    truncated = "truncated"
    loop = "loop"
    duplicate = "duplicate"
    wrong_language = "wrong_language"
    absent_object = "absent_object"
    wrong_count = "wrong_count"
    wrong_colour = "wrong_colour"
    wrong_relation = "wrong_relation"
    invented_text = "invented_text"
