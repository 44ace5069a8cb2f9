"""What a check returns."""

from dataclasses import dataclass

from schemas.conversation import Check


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a conversation is not kept. `turn`: index into the draft's turns; `evidence`: what was read."""

    check: Check
    turn: int
    evidence: str
