"""All checks by name, in the order in which they run."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.colours import wrong_colour
from stages.synthesize.checks.counts import wrong_count
from stages.synthesize.checks.denials import denied_object
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.form import duplicate, looping, roles, truncated
from stages.synthesize.checks.grounding import absent_object
from stages.synthesize.checks.language import wrong_language
from stages.synthesize.checks.quoted import invented_text
from stages.synthesize.checks.sides import wrong_relation
from stages.synthesize.checks.talk import leak, refusal
from stages.synthesize.context import Context, Draft

CheckFunction = Callable[[Draft, Context, ChecksConfig], list[Finding]]

CHECKS: Mapping[Check, CheckFunction] = MappingProxyType(
    {
        Check.bad_roles: roles,
        Check.refusal: refusal,
        Check.leak: leak,
        Check.truncated: truncated,
        Check.loop: looping,
        Check.duplicate: duplicate,
        Check.wrong_language: wrong_language,
        Check.absent_object: absent_object,
        Check.denied_object: denied_object,
        Check.wrong_count: wrong_count,
        Check.wrong_colour: wrong_colour,
        Check.wrong_relation: wrong_relation,
        Check.invented_text: invented_text,
    }
)
"""`bad_schema` is not here: what does not parse never becomes a draft."""

ONE_PICTURE = frozenset({
    Check.absent_object, Check.denied_object, Check.wrong_count, Check.wrong_colour, Check.wrong_relation,
    Check.invented_text,
})  # fmt: skip
"""Checks that hold a draft against one picture. Of a draft about several (`Draft.images`) they judge nothing: what is
said of the second is not in the first, and against all of them together a wrong count or side could pass for true."""
ENGLISH = ONE_PICTURE - {Check.invented_text}
"""Checks that read English only, and judge no other draft. refusal, leak, wrong_language, invented_text and the checks
of form read Chinese, too: what a Chinese draft says about objects, counts, colours and sides is not checked."""


def examine(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Every check's findings, cheap checks first; none: the conversation may be kept.

    A conversation whose roles are wrong is examined no further, since the other checks read questions and answers. Of a
    preference pair the chosen answer is examined, not `rejected`.
    """
    several = draft.images is not None and draft.images != (context.sample_id,)
    blind = (ONE_PICTURE if several else frozenset[Check]()) | (
        ENGLISH if draft.language != "en" else frozenset[Check]()
    )
    found: list[Finding] = []
    for check, function in CHECKS.items():
        if check not in config.off and check not in blind:
            found += function(draft, context, config)
            if check is Check.bad_roles and found:
                break
    return found
