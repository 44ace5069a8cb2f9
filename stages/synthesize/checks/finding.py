"""What a check returns, and the settings that checks read."""

from dataclasses import dataclass

from schemas.config import StageConfig
from schemas.conversation import Check


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a conversation is not kept. `turn`: index into the draft's turns; `evidence`: what was read."""

    check: Check
    turn: int
    evidence: str


class ChecksConfig(StageConfig):
    """Settings of the checks on a written conversation."""

    off: tuple[Check, ...] = ()
    """Checks that are not run."""
    region_kinds: tuple[str, ...] = ("grounded",)
    """Kinds whose answers name regions, so that coordinates in them are no leak."""
    max_countable: int = 10
    """Counts are not judged for words with this many boxes or more: COCO boxes about 15 of a kind and then one crowd
    (Lin et al. 2014, section 4.3), and a pool's boxes do not say which of them is a crowd."""
    side_margin: float = 0.04
    """Centres nearer than this share of the picture's side decide no left, right, above or below."""
    text_similarity: float = 0.8
    """A quoted text as like as this (difflib ratio on letters and digits) to one that OCR read counts as read."""
