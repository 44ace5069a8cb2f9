"""From a teacher's text to drafts: find the JSON, hold it to the kind's schema, say what is wrong with it.

A reply is hostile: it may be anything, of any depth, up to the endpoint's limit of bytes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic import ValidationError

from schemas.conversation import Check, Role
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.registry import examine
from stages.synthesize.checks.talk import refusal
from stages.synthesize.checks.words import normal, sentences, shown
from stages.synthesize.context import Context, Draft
from stages.synthesize.endpoint.wire import Reply, one_line
from stages.synthesize.kinds.base import Kind, Task
from stages.synthesize.kinds.replies import Unfit

TEXT_MOST = 100_000
"""Characters of a reply that are read; a longer one is no conversation."""
_CUT = frozenset({"length", "max_tokens"})
_FENCE = "```"
_THOUGHT = re.compile(r"^\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_TRIES = 20
"""Opening braces at which an object is looked for."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A draft and why it is not kept; None: it is."""

    draft: Draft
    finding: Finding | None


def judged(reply: Reply, kind: Kind, task: Task, checks: ChecksConfig) -> list[Judged] | Finding:
    """Each conversation of a reply, checked; or why the reply has none. A finding on a reply names turn -1."""
    try:
        drafts = read(reply, kind, task)
    except Unread as unread:
        return Finding(unread.check, -1, str(unread))
    told = _examples(kind, task)
    found: list[Judged] = []
    for draft in drafts:
        read_as = kind.examined(draft)
        found.append(Judged(draft, _first(read_as, task, checks) or _copied(read_as, told)))
    return found


class Unread(Exception):
    """Nothing could be made of a reply."""

    def __init__(self, check: Check, evidence: str) -> None:
        self.check = check
        super().__init__(one_line(evidence))


def read(reply: Reply, kind: Kind, task: Task) -> list[Draft]:
    """The drafts of a reply, unchecked. Raises Unread."""
    if reply.refused:
        raise Unread(Check.refusal, reply.text)
    if reply.finish_reason in _CUT:
        raise Unread(Check.truncated, f"finish_reason {reply.finish_reason}: …{reply.text[-80:]}")
    if len(reply.text) > TEXT_MOST:
        raise Unread(Check.bad_schema, f"the reply is {len(reply.text)} characters long, more than {TEXT_MOST}")
    problem: str | None = None
    for found in objects(reply.text):
        try:
            drafts = kind.drafts(kind.reply.model_validate(found), task)
        except ValidationError as error:
            problem = problem or _said(error)
        except Unfit as error:
            problem = problem or str(error)
        else:
            return [replace(draft, finish_reason="stop") for draft in drafts]  # a whole object was not cut
    raise _unread(reply.text, problem, task)


def objects(text: str) -> Iterator[object]:
    """JSON objects in a text: all of it, what code fences hold, what starts at a brace. Whole ones only, once each."""
    bare = _THOUGHT.sub("", text).strip()
    fenced = bare.split(_FENCE)[1::2]
    for candidate in (bare, *fenced[:_TRIES]):
        found = _loaded(candidate.removeprefix("json"))
        if found is not None:
            yield found
    decoder, at, tries = json.JSONDecoder(), bare.find("{"), 0
    while at >= 0 and tries < _TRIES:
        tries += 1
        try:
            found, end = decoder.raw_decode(bare, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield found
        at = bare.find("{", end)


def _loaded(text: str) -> object | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unread(text: str, problem: str | None, task: Task) -> Unread:
    said = Draft("", (("user", "?"), ("assistant", text)), task.language)
    found = refusal(said, task.context, ChecksConfig())
    if found:
        return Unread(Check.refusal, found[0].evidence)
    return Unread(Check.bad_schema, problem or f"no JSON object in: {text[:200]}")


def _said(error: ValidationError) -> str:
    """The first problem: where, what, and nothing of pydantic's addresses."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"])) or "the reply"
    return f"{where}: {first['msg']}" + (f" ({error.error_count() - 1} more)" if error.error_count() > 1 else "")


def _first(draft: Draft, task: Task, checks: ChecksConfig) -> Finding | None:
    context = task.context
    if draft.images is not None:  # what is said of several pictures cannot be held against one
        context = Context(context.sample_id, context.width, context.height, language=context.language)
    found = examine(draft, context, checks)
    if not found and draft.rejected is not None:
        return _rejected(draft, context, checks)
    return found[0] if found else None


_FACTS = frozenset({
    Check.absent_object, Check.denied_object, Check.wrong_count, Check.wrong_colour, Check.wrong_relation,
    Check.invented_text, Check.unlike_picture,
})  # fmt: skip
"""What may be planted in the worse answer."""


def _rejected(draft: Draft, context: Context, checks: ChecksConfig) -> Finding | None:
    """The worse answer's only fault is to be the planted one: nobody learns from a pair that differs in form."""
    assert draft.rejected is not None
    last = len(draft.turns) - 1
    if " ".join(draft.rejected.split()).casefold() == " ".join(draft.turns[-1][1].split()).casefold():
        return Finding(Check.duplicate, last, f"the rejected answer is the chosen one: {shown(draft.rejected)}")
    worse = replace(draft, turns=(*draft.turns[:-1], ("assistant", draft.rejected)), rejected=None)
    found = [f for f in examine(worse, context, checks) if f.check not in _FACTS]
    return Finding(found[0].check, last, f"rejected answer: {found[0].evidence}") if found else None


def _examples(kind: Kind, task: Task) -> frozenset[str]:
    """Long sentences of the example's answers, as they are compared; empty where none was shown."""
    if task.shown:
        return frozenset()
    found: set[str] = set()
    for example in kind.examples(task):
        for draft in kind.drafts(example.reply, replace(task, contexts=(example.context,))):
            for role, text in kind.examined(draft).turns:
                found |= _sentences(text) if role == Role.assistant else set()
    return frozenset(found)


def _copied(draft: Draft, told: frozenset[str]) -> Finding | None:
    """Small models repeat the example as if it were about this picture."""
    for turn, (role, text) in enumerate(draft.turns):
        said = _sentences(text) & told if role == Role.assistant else set()
        if said:
            return Finding(Check.duplicate, turn, f"the prompt's own example: {shown(min(said))}")
    return None


def _sentences(text: str) -> set[str]:
    found = {normal(sentence.text) for sentence in sentences(text)}
    return {said for said in found if len(said.split()) >= _COPIED or (not said.isascii() and len(said) >= 2 * _COPIED)}


_COPIED = 5
"""Words of a sentence that is no coincidence."""
