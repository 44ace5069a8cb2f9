"""A sample of the stream → the conversations to train on, as turns of words and pictures; or why there are none."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipelines.exports.talks import ASK
from schemas.conversation import Conversation, Role
from schemas.train_batch import BatchConfig, TextFrom, TrainReason, TrainRejection

MARKER = "<image>"
"""Stands for a picture in the turns of a conversation over several; in any other text it is seven characters."""
PICTURE = None
"""Stands for a picture in a turn."""
WHOLE = -1

Find = Callable[[int, str], Any | None]
"""(source, sample_id) → the encoded picture of another sample, or None."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """A sample as the stream gives it; members are bytes-like, None where it has none."""

    position: int
    """In the stream's sequence."""
    sample_id: str
    source: int
    source_name: str
    image: Any
    json: Any
    txt: Any


@dataclass(frozen=True, slots=True)
class Said:
    """A turn: its words and pictures (`PICTURE`) in order. Words are stripped at both ends of the turn."""

    role: str
    chunks: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation."""

    sample: Streamed
    number: int
    kind: str
    turns: tuple[Said, ...]
    pictures: tuple[Any, ...]
    """Encoded, in the order of the turns' `PICTURE`."""

    def rejected(self, reason: TrainReason, detail: str) -> TrainRejection:
        return _rejection(self.sample, self.number, self.kind, reason, detail)


def talks_of(sample: Streamed, config: BatchConfig, find: Find) -> Iterator[Talk | TrainRejection]:
    """One by one, in stored order; a rejection in the place of each that cannot be trained on."""
    if config.text is TextFrom.caption:
        yield _caption(sample, config.ask)
        return
    try:
        said = _written(sample.json)
    except ValueError as error:  # pydantic's ValidationError is one
        yield _rejection(sample, WHOLE, "", TrainReason.bad_json, _first(error))
        return
    if not said:
        yield _rejection(sample, WHOLE, "", TrainReason.no_conversation, "")
    for number, one in enumerate(said):
        yield _talk(sample, number, one, config.kinds, find)


def _written(document: Any) -> list[Conversation]:
    """Raises ValueError where it is not what a build writes."""
    if document is None:
        raise ValueError("the sample has no json")
    found = json.loads(bytes(document))
    conversations = (found.get("conversations") or []) if isinstance(found, dict) else None
    if not isinstance(conversations, list):
        raise ValueError("conversations is not a list")
    return [Conversation.model_validate(one) for one in conversations]


def _caption(sample: Streamed, ask: bool) -> Talk | TrainRejection:
    caption = "" if sample.txt is None else str(bytes(sample.txt), "utf-8", "replace").strip()
    if not caption:
        return _rejection(sample, WHOLE, "caption", TrainReason.no_caption, "")
    if sample.image is None:
        return _rejection(sample, WHOLE, "caption", TrainReason.picture_missing, "the sample has no picture")
    drawn = int.from_bytes(hashlib.sha256(f"ask:{sample.sample_id}".encode()).digest()[:4], "big")
    question = (PICTURE, "\n", ASK[drawn % len(ASK)]) if ask else (PICTURE,)
    turns = (Said(Role.user, question), Said(Role.assistant, (caption,)))
    return Talk(sample, 0, "caption", turns, (sample.image,))


def _talk(
    sample: Streamed, number: int, said: Conversation, kinds: list[str] | None, find: Find
) -> Talk | TrainRejection:
    def rejected(reason: TrainReason, detail: str = "") -> TrainRejection:
        return _rejection(sample, number, said.kind, reason, detail)

    if said.rejected is not None or (kinds is not None and said.kind not in kinds):
        return rejected(TrainReason.other_kind if said.rejected is None else TrainReason.pair)
    why = _order([turn.role for turn in said.turns])
    if why is not None:
        return rejected(*why)
    turns = _turns(said)
    for i, turn in enumerate(turns):
        if not turn.chunks:
            return rejected(TrainReason.empty_turn, f"turn {i}")
    ids = [sample.sample_id] if said.images is None else said.images
    marked = sum(chunk is PICTURE for turn in turns for chunk in turn.chunks)
    pictures = [sample.image if one == sample.sample_id else find(sample.source, one) for one in ids]
    missing = [one for one, found in zip(ids, pictures, strict=True) if found is None]
    if marked != len(ids):
        return rejected(TrainReason.placeholder_count, f"{marked} placeholders, {len(ids)} pictures")
    if missing:
        return rejected(TrainReason.picture_missing, missing[0])
    return Talk(sample, number, said.kind, tuple(turns), tuple(pictures))


def _turns(said: Conversation) -> list[Said]:
    """With the sample's picture before the first words, or those of several where the questions' markers stand."""
    several = said.images is not None
    turns = [Said(turn.role, _chunks(turn.text.strip(), several and turn.role == Role.user)) for turn in said.turns]
    if not several:
        first = turns[0].chunks
        turns[0] = Said(Role.user, (PICTURE, "\n", *first) if first else (PICTURE,))
    return turns


def _order(roles: list[str]) -> tuple[TrainReason, str] | None:
    for role in roles:
        if role not in (Role.user, Role.assistant):
            return TrainReason.unknown_role, repr(role[:40])
    if not roles or roles != [Role.user.value, Role.assistant.value] * (len(roles) // 2):
        return TrainReason.role_order, ", ".join(roles[:8])
    return None


def _chunks(text: str, markers: bool) -> tuple[str | None, ...]:
    """A turn's words, with its pictures where its markers stand."""
    if not markers:
        return (text,) if text else ()
    out: list[str | None] = []
    for i, words in enumerate(text.split(MARKER)):
        out += ([PICTURE] if i else []) + ([words] if words else [])
    return tuple(out)


def _rejection(sample: Streamed, number: int, kind: str, reason: TrainReason, detail: str) -> TrainRejection:
    return TrainRejection(
        position=sample.position,
        sample_id=sample.sample_id,
        source=sample.source_name,
        number=number,
        kind=kind,
        reason=reason.value,
        detail=detail,
    )


def _first(error: Exception) -> str:
    """One line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:160]
