"""The form of a conversation: roles, ends, loops, repeats. Nothing here looks at the context."""

import re
from collections import Counter

from schemas.conversation import Check, Role
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.words import is_word, normal, sentences, shown, tokens
from stages.synthesize.context import Context, Draft

_HANGING = frozenset({
    "the", "a", "an", "of", "and", "or", "with", "to", "is", "are", "in", "at", "for", "from", "by", "which", "while",
    "because", "as", "its", "their", "but", "than", "into", "between", "was", "were", "this", "these", "has", "have",
})  # fmt: skip
_FINAL = re.compile(r"[.!?…。！？\"'”’」』)\]}*`]\s*$|[:：]\)\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s")
_CJK = re.compile(r"[\u3400-\u9fff]")
_LONG = 12
"""An answer of so many words whose earlier sentences are punctuated and whose last is not was cut."""
_GRAM = 8
_RUN = 16
"""The longest phrase, in words, whose immediate repetition is looked for."""
_COVERED = 0.5


def roles(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """user, assistant, user … assistant, nothing empty."""
    if not draft.turns:
        return [Finding(Check.bad_roles, 0, "no turns")]
    found: list[Finding] = []
    for i, (role, text) in enumerate(draft.turns):
        wanted = Role.assistant if i % 2 else Role.user
        if role != wanted:
            found.append(Finding(Check.bad_roles, i, f"{shown(role)} where {wanted} should speak"))
        elif not text.strip():
            found.append(Finding(Check.bad_roles, i, f"the {role} says nothing"))
    if len(draft.turns) % 2 and not found:
        found.append(Finding(Check.bad_roles, len(draft.turns) - 1, "the last question has no answer"))
    return found


def truncated(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """finish_reason, and answers that stop in mid-sentence."""
    if draft.finish_reason not in ("stop", "tool_calls"):
        return [Finding(Check.truncated, max(0, len(draft.turns) - 1), f"finish_reason {draft.finish_reason}")]
    found: list[Finding] = []
    for i, (role, text) in enumerate(draft.turns):
        if role == Role.assistant and _stops_short(text.rstrip()):
            found.append(Finding(Check.truncated, i, shown("…" + text.rstrip()[-60:])))
    return found


def _stops_short(text: str) -> bool:
    if not text or _FINAL.search(text):
        return False
    if text[-1] in ",;、，；-–—([{「“":
        return True
    words = [t for t in tokens(text) if is_word(t)]
    if len(words) > 1 and words[-1] in _HANGING and tokens(text)[-1] == words[-1]:
        return not (len(words) <= 4 and words[-1] in ("in", "to", "at", "for", "from", "by", "of", "is", "are", "has"))
    last = text.splitlines()[-1]
    if _LIST_ITEM.match(last) or "|" in last:
        return False
    if _CJK.search(text):
        return len(_CJK.findall(text)) >= 2 * _LONG and text.count("。") >= 1
    return len(words) >= _LONG and len(sentences(text)) > 1


def looping(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Within one turn: a phrase said over and over, a sentence repeated, or text that mostly repeats itself."""
    found: list[Finding] = []
    for i, (_, text) in enumerate(draft.turns):
        evidence = _loop(text)
        if evidence:
            found.append(Finding(Check.loop, i, shown(evidence)))
    return found


def _loop(text: str) -> str | None:
    said = Counter(n for s in sentences(text) if (n := normal(s.text)))
    for sentence, times in said.items():
        size = _units(sentence)
        if (times >= 2 and size >= 4) or (times >= 3 and size >= 2) or times >= 5:
            return f"{times} × {sentence}"
    units = [t for word in tokens(text) if is_word(word) for t in (_CJK.findall(word) or [word])]
    return _stutter(units) or _repeating(units)


def _units(sentence: str) -> int:
    return len(_CJK.findall(sentence)) or len(sentence.split())


def _stutter(units: list[str]) -> str | None:
    """A phrase said again at once: one word four times, two or three words three times, a longer one less often."""
    for size in range(1, min(_RUN, (len(units) + 1) // 2) + 1):
        again = 3 * size if size == 1 else 2 * size if size < 4 else 1.6 * size if size < 8 else size - 1
        run = 0
        for at in range(size, len(units)):
            run = run + 1 if units[at] == units[at - size] else 0
            if run >= again:
                return f"again and again: {' '.join(units[at - size + 1 : at + 1])}"
    return None


def _repeating(units: list[str]) -> str | None:
    """Share of words inside runs of eight that occur more than once (Gopher's duplicate n-grams, Rae et al. 2021)."""
    if len(units) < 4 * _GRAM:
        return None
    grams = [tuple(units[k : k + _GRAM]) for k in range(len(units) - _GRAM + 1)]
    seen = Counter(grams)
    covered = {k + j for k, g in enumerate(grams) if seen[g] > 1 for j in range(_GRAM)}
    if len(covered) < _COVERED * len(units):
        return None
    return f"{len(covered)} of {len(units)} words repeat: {' '.join(seen.most_common(1)[0][0])}"


def duplicate(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """A question asked twice, a long answer given twice, an answer that only repeats its question."""
    found: list[Finding] = []
    seen: dict[tuple[str, str], int] = {}
    for i, (role, text) in enumerate(draft.turns):
        said = normal(text)
        if not said:
            continue
        earlier = seen.setdefault((role, said), i)
        long = role == Role.user or _units(said) >= 6
        if earlier != i and long:
            found.append(Finding(Check.duplicate, i, f"as turn {earlier}: {shown(text)}"))
        elif i and role == Role.assistant and said == normal(draft.turns[i - 1][1]) and _units(said) >= 3:
            found.append(Finding(Check.duplicate, i, f"the question again: {shown(text)}"))
    return found
