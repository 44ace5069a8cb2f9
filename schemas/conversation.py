"""Synthesized conversations: turns, who wrote them, what they cost, and why one was not kept."""

from enum import StrEnum
from typing import cast

from schemas.row import Int32, Row
from schemas.sample import Key


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
    """What the turn rests on: `box:3` (index into the sample's boxes, or, with `synthesize.boxes: masks`, into its
    labelled best masks), `caption`, `text:0` (index into its text lines), `absent:dog`; empty where the teacher named
    none."""


class Usage(Row):
    """What the replies behind one conversation took, as the endpoint counted. One reply holds all turns of a
    conversation, or several conversations, among which it is divided; a repaired one counts both replies."""

    prompt_tokens: Int32
    completion_tokens: Int32
    cost: float
    """In the currency of the recipe's price table."""


class Conversation(Row):
    """A kept conversation about one sample, or a preference pair."""

    kind: str
    """The prompt module that asked for it, or the template."""
    prompt_version: Int32
    teacher: str
    """Model name, or `template`."""
    language: str
    """ISO 639-1: en, zh."""
    turns: list[Turn]
    images: list[str] | None
    """kind interleaved: the sample_ids of all pictures, this sample's among them, in the order in which the turns'
    `<image>` stand for them. Null: this sample's picture alone, before the first turn."""
    rejected: str | None
    """kind preference: the worse answer to the last question."""
    planted: str | None
    """kind preference: the error planted in it."""
    repaired: bool
    """It was written a second time, after a check's finding."""
    usage: Usage | None
    """Null for templates."""


class Dropped(Row):
    """A conversation that was asked for and is not kept."""

    kind: str
    teacher: str
    reason: str
    """A `Check`, or a `FailureReason` of the endpoint."""
    turn: Int32 | None
    """Index into its turns, of the finding."""
    evidence: str
    """What was read, or what the endpoint said; one line."""
    text: str | None
    """What the teacher wrote, cut at 4,000 characters; null where no reply came."""
    usage: Usage | None
    """What was paid for it all the same."""


class Synthesized(Key):
    """Family `conversations`. A kept conversation, then everything that was paid for and thrown away."""

    conversations: list[Conversation]
    dropped: list[Dropped]


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
    denied_object = "denied_object"
    """It says that something is not there, which a box shows."""
    wrong_count = "wrong_count"
    wrong_colour = "wrong_colour"
    wrong_relation = "wrong_relation"
    invented_text = "invented_text"
    unlike_picture = "unlike_picture"
    """A second model (CLIP, or another endpoint) finds that it does not fit the picture."""


class FailureReason(StrEnum):
    """Why a request to an endpoint has no reply."""

    rate_limited = "rate_limited"
    server_error = "server_error"
    timeout = "timeout"
    unreachable = "unreachable"
    """No connection: refused, no such host, TLS."""
    reset = "reset"
    """The connection ended before the body did."""
    invalid_json = "invalid_json"
    """The HTTP body is not JSON."""
    malformed = "malformed"
    """JSON, and not a chat completion."""
    empty_choices = "empty_choices"
    too_large = "too_large"
    content_filter = "content_filter"
    bad_request = "bad_request"
    circuit_open = "circuit_open"
    over_cap = "over_cap"
    expired = "expired"
    """Its batch's time was over before the request was worked on."""
    no_picture = "no_picture"
    """The teacher is to see a picture that does not decode; nothing was asked."""


NOTHING_TO_SAY = "nothing_to_say"
"""No kind applied: what it needs (boxes, captions, text lines) is not there, or decides nothing."""
NoConversation = cast(
    "type[StrEnum]",
    StrEnum("NoConversation", {name: name for name in (NOTHING_TO_SAY, *(r.value for r in (*Check, *FailureReason)))}),
)
"""Why a sample has no conversation: `nothing_to_say`, or the reason of the first that was dropped."""
