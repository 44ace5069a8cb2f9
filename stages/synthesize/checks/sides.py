"""Left, right, above, below against the boxes: between two things of which there is one each, and in the picture.

Judged by stages.synthesize.relations.contradicts.
"""

from schemas.conversation import Check
from schemas.sample import Box
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import lexicon_of
from stages.synthesize.checks.side_claims import Claim, claims
from stages.synthesize.checks.words import shown
from stages.synthesize.checks.world import world_of
from stages.synthesize.context import Context, Draft
from stages.synthesize.relations import Relation, contradicts, relation


def wrong_relation(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Claims that the boxes contradict."""
    world = world_of(context)
    if world is None:
        return []
    found: list[Finding] = []
    for claim in claims(draft, lexicon_of(context.vocabulary)):
        a = world.only(claim.a.labels)
        b = world.only(claim.b.labels) if claim.b else None
        if a is None or (claim.b and b is None) or a is b or claim.a.modified or (claim.b and claim.b.modified):
            continue
        wrong = _beside(claim, a, b, context) if b else _placed_wrong(claim, a, context, config)
        if wrong:
            said = "not " if claim.denied else ""
            found.append(Finding(Check.wrong_relation, claim.turn, f"{said}{claim.side}: {shown(claim.sentence.text)}"))
    return list(dict.fromkeys(found))


def _beside(claim: Claim, a: Box, b: Box, context: Context) -> bool:
    if claim.denied:
        return claim.side in relation(a, b, context.width, context.height)
    return contradicts(claim.side, a, b, context.width, context.height)


def _placed_wrong(claim: Claim, a: Box, context: Context, config: ChecksConfig) -> bool:
    """Wholly in the other half of the picture."""
    if claim.denied:
        return False
    middle_x, middle_y = context.width / 2, context.height / 2
    return {
        Relation.left_of: a.x >= middle_x + config.side_margin * context.width,
        Relation.right_of: a.x + a.w <= middle_x - config.side_margin * context.width,
        Relation.above: a.y >= middle_y + config.side_margin * context.height,
        Relation.below: a.y + a.h <= middle_y - config.side_margin * context.height,
    }[claim.side]
