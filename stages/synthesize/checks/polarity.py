"""Whether an answer says yes or no, and what it says so to."""

import re

from stages.synthesize.checks.refusals import plain
from stages.synthesize.checks.words import Sentence

_OPENS = r"^(?:(?:well|oh|hm+|ah|indeed|actually|so|honestly|to be honest|in this picture|in the image)[,!.]? )*"
_END = r"(?=[\s]*(?:[.,;:!—–-]|$))"
_TAIL = r"(?: (?:so|indeed|that|either|really|one|any|here|there|in plain sight|in view|right|correct|true))?"
_SHORT = re.compile(
    _OPENS + r"(?:yes, |no, )?(?:it|i|there|they|you|we|one|that|this|he|she|these|those|none|neither) "
    r"(?:is|are|am|does|do|did|can|could|would|will|has|have|had|was|were|cannot|should)( not)?( so)?" + _TAIL + _END
)
_YES = re.compile(
    _OPENS + r"(?:yes|yeah|yep|yup|aye|correct|right|sure|sure thing|certainly|absolutely|definitely|exactly|confirmed|"
    r"affirmative|true|of course|indeed|(?:that|this|it) is (?:right|correct|true|so|the case)|"
    r"you are (?:quite |absolutely )?"
    r"(?:right|correct)|quite so|i (?:can|do|would) (?:confirm|say so|think so)|i think so|i believe so)"
    + r"\b(?! (?:not|now|side|away|next|above|below|hand))"
)
_NO = re.compile(
    _OPENS + r"(?:no|nope|nah|not at all|never|negative|not that i (?:can see|know of)|not as far as|by no means|"
    r"certainly not|definitely not|absolutely not|of course not|i am afraid not|unfortunately not|i do not think so|"
    r"i would not (?:say|think) so|(?:that|this|it) is (?:not (?:right|correct|true|so|the case)|incorrect|"
    r"wrong|false)|"
    r"you are (?:not(?= (?:right|correct)\b|\s*(?:[.,;!]|$))|wrong|mistaken))\b"
)
_NO_NOUN = re.compile(_OPENS + r"no (?!it\b|they\b|there\b|i\b|the\b|that\b|this\b|we\b|you\b|not\b)[a-z]")
_TAG = re.compile(
    r"^(?:(?:is|isn't|are|aren't|am|was) (?:i|it|that|this|there|they) (?:not )?(?:right|correct|true|so|"
    r"the case)|right|"
    r"correct|true|do you agree|would you agree|can you|do you|agreed|don't you think|(?:isn't|aren't|"
    r"doesn't|don't|can't) "
    r"(?:it|there|they|you)|am i (?:right|correct|wrong|mistaken))(?:,? please)?\?$"
)
_PUT = re.compile(
    r"^(?:(?:so|and|but|now|well|hey|ok|okay|i wonder|tell me|please tell me|do you know|"
    r"can you tell(?: me)?|could you tell"
    r"(?: me)?)[,!]? )*(?:whether|if)\b",
    re.IGNORECASE,
)
YES_NO = frozenset({
    "is", "are", "do", "does", "did", "can", "could", "has", "have", "was", "were", "any", "would", "isn't", "aren't",
    "am", "will", "doesn't", "don't", "can't", "couldn't", "should", "had", "might", "wasn't", "weren't",
})  # fmt: skip
_ADDRESS = frozenset({"so", "and", "but", "now", "well", "hey", "hi", "hello", "ok", "okay", "also", "then", "please"})


def polarity(answer: Sentence) -> bool | None:
    """Yes, no, or None: it starts with neither."""
    said = plain(answer.text)
    if _NO_NOUN.match(said):
        return None
    short = _SHORT.match(said)
    if _NO.match(said):
        return False
    if short:
        none = said.startswith(("none", "neither"))
        return short.group(1) is None and " cannot" not in short.group() and not none
    return True if _YES.match(said) else None


def asks_yes_no(sentence: Sentence) -> bool:
    return sentence.asks and sentence.tokens[:1] != () and _opening(sentence) in YES_NO


def put(question: list[Sentence]) -> Sentence | None:
    """What a yes or no is said to: the last question, or the statement before "Am I right?"; None: no such question."""
    for at in range(len(question) - 1, -1, -1):
        sentence = question[at]
        if not sentence.asks:
            continue
        if at and _TAG.match(" ".join(sentence.text.lower().replace("’", "'").split())):
            return question[at - 1]
        if asks_yes_no(sentence) or re.search(
            r", (?:right|correct|isn't (?:it|there)|aren't they)\?$", sentence.text.lower()
        ):
            return sentence
        return None
    if question and _PUT.match(question[-1].text):
        return question[-1]
    return None


def _opening(sentence: Sentence) -> str:
    """The first word that is not an address ("In this picture, is …", "So is …")."""
    words = sentence.tokens
    while len(words) > 1 and words[0] in _ADDRESS:
        words = words[2:] if words[1] in (",", "!") else words[1:]
    if words and words[0] not in YES_NO and "," in words[:6]:
        words = words[words.index(",") + 1 :] or words
    return words[0] if words else ""
