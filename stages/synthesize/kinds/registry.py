"""All kinds by name. A new kind is one file and one line here."""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.errors import WrongRequest
from schemas.synthesize import SynthesizeConfig
from stages.synthesize.kinds.base import Kind, Need
from stages.synthesize.kinds.conversation import Conversation
from stages.synthesize.kinds.counting import Counting
from stages.synthesize.kinds.detail import Detail
from stages.synthesize.kinds.grounded import Grounded
from stages.synthesize.kinds.interleaved import Interleaved
from stages.synthesize.kinds.preference import Preference
from stages.synthesize.kinds.reasoning import Reasoning
from stages.synthesize.kinds.recaption import Recaption
from stages.synthesize.kinds.relation import Relation
from stages.synthesize.kinds.text import Text
from stages.synthesize.kinds.vqa import Vqa

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "conversation": Conversation(),
        "detail": Detail(),
        "reasoning": Reasoning(),
        "vqa": Vqa(),
        "text": Text(),
        "counting": Counting(),
        "relation": Relation(),
        "grounded": Grounded(),
        "recaption": Recaption(),
        "interleaved": Interleaved(),
        "preference": Preference(),
    }
)
USUAL = ("conversation", "detail", "reasoning")
"""Where the recipe names none: LLaVA's three."""


def kinds_of(config: SynthesizeConfig) -> dict[str, Kind]:
    """The kinds that a recipe asks a model for, in its order. Raises WrongRequest for one that cannot be."""
    found: dict[str, Kind] = {}
    for name in dict.fromkeys(config.kinds or USUAL):
        kind = KINDS.get(name)
        if kind is None:
            raise WrongRequest(f"synthesize.kinds: there is no kind {name!r}", f"choose from {', '.join(KINDS)}")
        if config.sees == "image" and kind.needs in (Need.boxes, Need.texts):
            raise WrongRequest(
                f"synthesize.kinds: {name} is written from {kind.needs}, and `sees: image` tells the teacher none",
                "write `sees: both` or `sees: text`, or leave this kind out",
            )
        found[name] = kind
    return found
