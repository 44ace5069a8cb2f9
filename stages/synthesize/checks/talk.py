"""Talk that no reader of the picture should hear: refusals, the machine about itself, the context it was given."""

import re
from functools import lru_cache

from schemas.conversation import Check, Role
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks import leaks, refusals
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.words import sentences, shown
from stages.synthesize.context import Context, Draft


def refusal(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """In answers only. That a thing is not in the picture, or cannot be told from it, is an answer."""
    found: list[Finding] = []
    for i, (role, text) in enumerate(draft.turns):
        if role == Role.assistant:
            evidence = _first(_refusals(), text)
            if evidence:
                found.append(Finding(Check.refusal, i, evidence))
    return found


def leak(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """In questions, too: whoever asks sees the picture, not its caption. Coordinates pass for `region_kinds`."""
    coordinates = () if draft.kind in config.region_kinds else _compiled(leaks.COORDINATES)
    found: list[Finding] = []
    for i, (_, text) in enumerate(draft.turns):
        evidence = _first((*_leaks(), *coordinates), text)
        if evidence:
            found.append(Finding(Check.leak, i, evidence))
    return found


def _first(patterns: "tuple[re.Pattern[str], ...]", text: str) -> str | None:
    """The first sentence that a pattern matches."""
    for sentence in sentences(text):
        said = refusals.plain(sentence.text)
        if any(p.search(said) for p in patterns):
            return shown(sentence.text)
    return None


@lru_cache(maxsize=8)
def _compiled(patterns: tuple[str, ...]) -> "tuple[re.Pattern[str], ...]":
    return tuple(re.compile(p, re.IGNORECASE) for p in patterns)


def _refusals() -> "tuple[re.Pattern[str], ...]":
    return _compiled(refusals.REFUSALS + refusals.CHINESE)


def _leaks() -> "tuple[re.Pattern[str], ...]":
    return _compiled(leaks.LEAKS + leaks.CHINESE)
