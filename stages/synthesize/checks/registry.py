"""All checks by name, in the order in which they run."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.counts import wrong_count
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.form import duplicate, looping, roles, truncated
from stages.synthesize.checks.grounding import absent_object, wrong_colour
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
        Check.wrong_count: wrong_count,
        Check.wrong_colour: wrong_colour,
        Check.wrong_relation: wrong_relation,
        Check.invented_text: invented_text,
    }
)
"""`bad_schema` is not here: what does not parse never becomes a draft."""


def examine(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Every check's findings, cheap checks first; none: the conversation may be kept.

    A conversation whose roles are wrong is examined no further, since the other checks read questions and answers.
    """
    found: list[Finding] = []
    for check, function in CHECKS.items():
        if check not in config.off:
            found += function(draft, context, config)
            if check is Check.bad_roles and found:
                break
    return found
