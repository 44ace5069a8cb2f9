"""Objects against boxes, captions and text lines. What these cannot decide is let pass."""

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import lexicon_of
from stages.synthesize.checks.statements import stated
from stages.synthesize.checks.words import shown
from stages.synthesize.checks.world import world_of
from stages.synthesize.context import Context, Draft


def absent_object(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Something of the vocabulary that nothing supports."""
    world = world_of(context)
    if world is None:
        return []
    found: list[Finding] = []
    for statement in stated(draft, lexicon_of(context.vocabulary)):
        mention = statement.mention
        if not world.supports(mention.labels) and not world.supports(mention.base):
            named = " or ".join(sorted(mention.base)[:2] if mention.colour is None else sorted(mention.labels))
            found.append(Finding(Check.absent_object, statement.turn, f"{named}: {shown(statement.sentence.text)}"))
    return list(dict.fromkeys(found))
