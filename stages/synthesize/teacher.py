"""What a teacher is to the stage: samples in, conversations and what was dropped out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.conversation import Conversation, Dropped, Turn, Usage
from schemas.synthesize import ChecksConfig, TemplateConfig
from stages.synthesize import template
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.registry import examine
from stages.synthesize.context import Context, Draft
from stages.synthesize.negatives import Statistics

TEXT_MOST = 4_000
"""Characters of a dropped text that are kept to be looked at."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One sample to be written about."""

    context: Context
    group: tuple[Context, ...] = ()
    """Related samples of the same part, this one among them, for dialogues over several pictures; empty: none."""
    images: tuple[bytes | None, ...] = ()
    """Pictures as stored, parallel to (context,) or, where there is one, to `group`; empty: not asked for."""


@dataclass(slots=True)
class Written:
    """What came of one sample."""

    conversations: list[Conversation] = field(default_factory=list[Conversation])
    dropped: list[Dropped] = field(default_factory=list[Dropped])


class Teacher(Protocol):
    """Writes about samples; one bad sample never touches its neighbours."""

    def open(self) -> None: ...

    def write(self, asked: Sequence[Asked]) -> list[Written]:
        """One entry per sample, in order."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Credit:
    """Who wrote a draft, and for how much."""

    teacher: str
    prompt_version: int
    usage: Usage | None = None
    repaired: bool = False


def kept(draft: Draft, credit: Credit) -> Conversation:
    """A draft that passed the checks."""
    evidence = draft.evidence or ((),) * len(draft.turns)
    turns = [
        Turn(role=str(role), text=text, evidence=list(rests))
        for (role, text), rests in zip(draft.turns, evidence, strict=True)
    ]
    return Conversation(
        kind=str(draft.kind),
        prompt_version=credit.prompt_version,
        teacher=credit.teacher,
        language=draft.language,
        turns=turns,
        images=None if draft.images is None else list(draft.images),
        rejected=draft.rejected,
        planted=draft.planted,
        repaired=credit.repaired,
        usage=credit.usage,
    )


def dropped(draft: Draft, finding: Finding, credit: Credit) -> Dropped:
    """A draft that did not, by its first finding."""
    text = "\n".join(f"{role}: {text}" for role, text in draft.turns)
    return Dropped(
        kind=str(draft.kind),
        teacher=credit.teacher,
        reason=finding.check.value,
        turn=finding.turn,
        evidence=finding.evidence,
        text=text[:TEXT_MOST],
        usage=credit.usage,
    )


class TemplateTeacher:
    """The `template` teacher. Its drafts are checked as a model's are."""

    name = "template"

    def __init__(self, config: TemplateConfig, checks: ChecksConfig, statistics: Statistics | None) -> None:
        self._config, self._checks, self._statistics = config, checks, statistics

    def open(self) -> None: ...
    def close(self) -> None: ...

    def write(self, asked: Sequence[Asked]) -> list[Written]:
        return [self._write(one.context) for one in asked]

    def _write(self, context: Context) -> Written:
        out, credit = Written(), Credit(self.name, template.VERSION)
        for draft in template.write(context, self._config, self._statistics):
            found = examine(draft, context, self._checks)
            if found:
                out.dropped.append(dropped(draft, found[0], credit))
            else:
                out.conversations.append(kept(draft, credit))
        return out
