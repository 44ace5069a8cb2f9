"""Whether a sentence supposes something instead of stating it: "there might be a dog", "a place where dogs could play".

"Would" is a manner of speaking before a verb of telling ("I would add that there is a dog"), and what a sentence gives
as its reason is stated ("I would call it Still Life, given that there is a bottle in it").
"""

import re

from stages.synthesize.checks.lexicon import DETERMINERS, Mention

_SHOWING = frozenset({
    "seen", "see", "there", "there's", "shows", "show", "showing", "features", "featuring", "contains", "includes",
    "include", "depicts", "displays", "captures", "background", "foreground", "notice", "spot", "view",
})  # fmt: skip
"""Without such a word a bare plural may mean the kind: "it protects people from the sun"."""
_SUPPOSED = frozenset({
    "would", "could", "might", "may", "if", "imagine", "should",
    "usually", "often", "typically", "generally", "suggests", "suggesting", "resembles", "resembling", "potentially",
    "potential", "sometimes", "whether", "implies", "implying", "presumably", "commonly", "normally", "tend",
})  # fmt: skip
_POLITE = frozenset({"perhaps", "maybe", "possibly", "likely", "probably"})
_COULD_SEE = re.compile(
    r"\b(?:could|would|might) (?:there|you|we|i|one) (?:perhaps |possibly |say |also )?(?:be|see|spot|find|"
    r"make|confirm|there|that)\b"
)
_DEPICTS = frozenset(
    {"painting", "poster", "statue", "sculpture", "logo", "sticker", "shape", "reflection", "figurine"}
)
_LIKE = frozenset({"like", "as", "resembling"})
WHOLE = frozenset({"image", "picture", "photo", "photograph", "scene", "frame", "visible", "present", "shown", "here"})

_POLITE_IF = re.compile(
    r"(?:^|, |\b(?:and|but|that) )if (?:there (?:is|are|was) (?:one|any)|you (?:like|will|ask me|prefer|want to know)|"
    r"anything|i may|(?:i|we|one|you) (?:had|have|has) to (?:choose|pick|name|say|guess)|i remember|i am not mistaken|"
    r"i'm not mistaken|(?:you|one|we) (?:looks?|zooms?|pays?|examines?|focus|focuses|follows?|studies|study))[^,]* , "
)
_TELLING = re.compile(
    r"\b(?:would|could|should|can|will) (?:\w+ly |also |just |rather )*"
    r"(?:(?:add|suggest) that|say|mention|point (?:out|to|at)|note|argue|describe|call|highlight|single out|pick out|"
    r"go (?:with|for)|start with|begin with|draw attention to|report|state|stress|emphasi[sz]e|single out|have to be|"
    r"have to say|need to be|guess)\b"
)
"""Polite, not hypothetical."""
_REASON = re.compile(
    r"\b(?:given|seeing|considering|since|because|as|that|whereas|;|:) (?:that )?(?:there (?:is|are|was|were)|"
    r"there's|(?:it|the \w+|this \w+) (?:clearly |also )?(?:shows?|has|have|contains?|features?|includes?|depicts?)|"
    r"(?:i|we|you|one) (?:can )?(?:clearly |also )?(?:see|sees|notice|spot|find|make out))\b"
)
_UTMOST = re.compile(
    r"\b(?:most \w+|\w{3,}est|main|key|central|first|best|only|favou?rite|dominant|focal|centrepiece|centerpiece|"
    r"highlight|subject)\b[^,]* would be "
)
_MODALS = frozenset({"would", "could", "should"})


def supposed(words: tuple[str, ...], mention: Mention, asked: bool = False) -> bool:
    """`asked`: in a question, which may be put politely ("Could there perhaps be …?")."""
    before = words[: mention.noun]
    near = [t for t in before[-5:] if t not in DETERMINERS]
    if any(t in _DEPICTS for t in near) and mention.noun > 5:
        return True
    opening = words[max(0, mention.first - 2) : mention.first]
    examples = "such" in before[-4:] or "well" in before[-4:]
    examples = examples or words[mention.end : mention.end + 1] in (("is",), ("are",), ("was",), ("were",), ("has",))
    examples = examples or (mention.first <= 5 and before[-4:-1].count("looks") + before[-3:].count("looks") > 0)
    if any(t in _LIKE for t in opening) and not examples:
        return True
    if mention.definite:
        return False
    clause = before[len(before) - before[::-1].index(",") :] if "," in before else before
    guessed = not asked and any(t in _POLITE for t in clause)
    if guessed or any(t in _SUPPOSED for t in (*_unsaid(before), *words[mention.end : mention.end + 1])):
        return not (asked and _COULD_SEE.search(" ".join(before)))
    bare = mention.plural and mention.count is None and mention.determiner is None
    return bare and not any(t in WHOLE or t in _SHOWING for t in words)


def _unsaid(before: tuple[str, ...]) -> tuple[str, ...]:
    """The words that may suppose what follows them: without polite phrases, and without the modals that a telling verb
    or a reason after them makes harmless."""
    said = " ".join(before) + " "
    if "if" in before:
        said = _POLITE_IF.sub(" , ", said)
    if not _MODALS & set(before) or any(t in _SUPPOSED - _MODALS for t in said.split()):
        return tuple(said.split())
    harmless = [m.end() for pattern in (_TELLING, _REASON, _UTMOST) for m in pattern.finditer(said)]
    return tuple(said[max(harmless) :].split()) if harmless else tuple(said.split())
