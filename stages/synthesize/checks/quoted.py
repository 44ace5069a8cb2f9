"""Text that a conversation says is written in the picture, against what OCR and captions have."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from schemas.conversation import Check, Role
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.words import normal, shown
from stages.synthesize.context import Context, Draft

_QUOTE = re.compile(
    r"\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|「([^」\n]{1,200})」|"
    r"(?<![\w])['‘]([^'’\n]{1,200}?)['’](?!\w)"
)
_CUE = re.compile(
    r"\b(?:reads?|reading|says?|said|saying|states?|stating|written|text|words?|wording|worded|sign|"
    r"letter(?:s|ing)?|titled|"
    r"inscription|inscribed|displays?|printed|spells?|logo|labell?ed|label|lettered|banner|message|writing|slogan|"
    r"brand|poster|marked|engraved|painted on|phrase|headline|stamped|bears?|tag|plate|read|notice|announces?|"
    r"transcri\w+|legible|decipher\w*|make out|made out|board|billboard|names?|title|placard|plaque)\b|写着|"
    r"文字|标志|字样|招牌|牌子|写的是|标语",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"\b(?:title|name|caption|call it|headline|suggest|slogan|hashtag|story|describe it as|word for (?:it|"
    r"the mood))\b.*\b(?:would|could|"
    r"give|suggest|write|propose|choose|going to be|fit|suit)\b|"
    r"\b(?:would|could|give|suggest|write|propose|choose|pick)\b.*\b(?:title|name|caption|headline|slogan|"
    r"hashtag|tweet|story|poem)\b",
    re.IGNORECASE | re.DOTALL,
)
_MAKES_UP = re.compile(
    r"\b(?:i (?:would|'d) (?:call|title|name)|could be (?:called|titled)|a (?:fitting|good) (?:title|name)|"
    r"how about)\b",
    re.IGNORECASE,
)
_TEXT = (
    r"(?:texts?|writing|words?|lettering|letters?|wording|inscription|sign|signs|label|message|notice|board|"
    r"banner|poster|plate|slogan)"
)
_ASKS = re.compile(
    r"\bwhat\b(?!.*\b(?:you|i|we|one|people|someone) (?:\w+ )?(?:say|tell)\b).*"
    r"\b(?:say|says|reads?|written|text|words?|spell|spells|writing|inscription|printed|wording|letters)\b|"
    r"\b(?:read|transcribe|quote|spell out)\b.*\b(?:text|sign|writing|words?|lettering|aloud|it|out|me)\b|"
    r"\b(?:exact wording|word for word|everything you can read|which words|quote it)\b|"
    r"\bgive me the (?:text|words|wording)\b|"
    r"写着什么|什么字|文字是",
    re.IGNORECASE | re.DOTALL,
)
_IN_WORDS = re.compile(
    r"\b(?:(?:using|with|in|by|pick|choose|give|name)\b[\w ]{0,20})?\b(?:single|one|few|own|two|three|"
    r"a) words?(?: or (?:\w+ )?phrase)?\b",
    re.IGNORECASE,
)
"""How to answer, not what about."""
_ABOUT_TEXT = re.compile(
    rf"\b{_TEXT}\b|\b(?:written|printed|legible|readable|inscribed)\b|\b(?:can|could|do|did) (?:you|one|i|we) read\b|"
    r"\bto read\b|\bread (?:it|this|that|aloud)\b|\bwhat does (?:it|this|that) say\b|\bquote\b|写|文字|招牌|标语",
    re.IGNORECASE,
)
_NAME = (
    r"([A-Z0-9][A-Z0-9&'’.-]+(?: [A-Z0-9][A-Z0-9&'’.-]*)*|"
    r"[A-Z][\w&'’-]*(?: (?:[A-Z0-9][\w&'’-]*|home|of|the|and|for|in|on|to)(?= ?[A-Z0-9]|\b))*)(?![\w])"
)
"""Words in capitals, or capitalised words in a row."""
_CAPITALS = re.compile(
    r"\b(?:reads?|reading|says?|say|saying|said|states?|stating|spells?(?: out)?|spelling(?: out)?|words?|text|"
    r"displays?|made out|make out|read|announces?|announcing|proclaims?|declares?|bearing|bears|labell?ed|lettered|"
    r"titled|inscribed|stamped|marked|engraved|printed|wrote|written|wording is|letters form)"
    r"(?: (?:with|as|on it|on them|there|here|clearly|simply|just))*[:,]? (?:the (?:words?|text|letters|phrase|name) )?"
    r"[:]?\s?" + _NAME
)
_NOUNS = (
    r"(?:texts?|writing|wording|words?|letters|lettering|inscription|sign|signs|signboard|label|banner|billboard|board|"
    r"placard|plaque|plate|poster|headline|slogan|message|notice|caption on (?:it|the \w+))"
)
_NAMED = re.compile(
    rf"\b(?i:{_NOUNS})(?:,|\*\*)?(?: (?:in|on|of|at|across|above|below|over) (?:the|this|it|its|a)(?: \w+){{0,2}})?"
    r"(?: (?:that |which )?(?:is|are|being|was|were|simply|clearly|just|here|there|with|carrying|showing|displaying|"
    r"called|namely|in question)){0,3}[:,]?(?:\*\*)?:? +(?:the (?:words?|text|letters|phrase|name) )?" + _NAME
)
_STANDS = re.compile(
    _NAME + r" (?:is|are|was|were|has been|have been|can be|could be|stands|stand|appears|appear) (?:\w+ly )?"
    r"(?:written|printed|inscribed|painted|engraved|spelled|spelt|lettered|in (?:\w+ )?(?:letters|capitals|"
    r"writing|lettering)|(?:read )?on (?:the|a) (?:\w+ )?(?:sign|board|banner|label|plate|poster|billboard|plaque))\b"
)
_WRITTEN = re.compile(
    rf"\b(?:{_NOUNS}|reads?|says?|saying|reading|spell(?:s|ing|ed)?|spelt|lettered|labell?ed|printed|inscribed|"
    r"stamped|written|painted)\b(?:\W+\w+){0,3}\W*$",
    re.IGNORECASE,
)
"""Right before a quotation: it is quoted from the picture, even in a tweet or a title."""
_COMMON = frozenset({
    "text", "something", "it", "there", "nothing", "the", "a", "this", "that", "some", "what", "words", "letters",
    "writing", "lettering", "none", "not", "here", "everything", "each", "all", "both", "unreadable", "illegible",
    "clear", "plain", "yes", "no", "they", "one", "i", "we", "you", "in", "on", "an", "is", "are", "its", "as",
})  # fmt: skip
_ALONE = re.compile(rf"(?:[a-z]|:)\s+{_NAME}[.!]?$|^{_NAME}, (?:in|on|with)\b")
"""An answer that ends in a name, or starts with one and tells how it looks."""
_FORBIDS = re.compile(r"N[Oo] [A-Z]")
"""`No Entry` is written on a sign; `No words` begins a sentence."""
_LEAD = re.compile(
    r"^(?:[-*•]\s+|\d+[.)]\s+)?(?:(?:yes|yep|sure|certainly|of course|well|here you go|"
    r"with pleasure)[,!.:]\s*)?(?:(?:it|the (?:\w+ ){0,3}?"
    r"(?:text|sign|writing|words?|label|lettering|inscription|letters|notice|message|wording|board|image|"
    r"picture|photo)|they|that|this|i (?:can )?"
    r"(?:see|read|made out|make out)|one can read)"
    r"(?: clearly| simply| just| in the (?:image|picture|photo)| on (?:it|the \w+))*"
    r"(?: (?:reads?|says?|say|is|are|forms?|spells?(?: out)?|displays?|contains?|shows?|states?|has))?"
    r"(?: the (?:text|words?|phrase))?[:,]?(?: as follows:)? )?",
    re.IGNORECASE,
)
_TRAIL = re.compile(
    r" (?:is|are) (?:written|printed|displayed|shown|painted)(?: (?:there|here|on (?:it|the \w+)))?[.!]?$"
)
_PLAIN_ANSWER = re.compile(
    r"^(?:(?:yes|no|nope|yep|yeah|sure|certainly|of course|correct|indeed)(?=\s*(?:[.,;!]|$))|(?:it is|"
    r"it does|i (?:do|can|would)|"
    r"there is|quite|very|fairly|perfectly|that'?s?)\b)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\b(?:no (?:\w+ )?(?:text|writing|words?|signs?|letters?|lettering)|not|nothing|none|cannot|can't|n't|"
    r"unreadable|illegible|unclear|blurr\w+|any)\b|没有|看不清|无法",
    re.IGNORECASE,
)
_WOULD = re.compile(r"\bwhat (?:would|could|might|will)\b.*\b(?:say|tell)\b", re.IGNORECASE)
"""Asks for words that nobody has written."""
_SHORT = 6


def invented_text(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Needs text lines: where nobody read the picture, nothing is invented."""
    if context.texts is None:
        return []
    known = [normal(line.text) for line in context.texts]
    sources = [s for s in (*known, " ".join(known)) if s]
    told = [f" {normal(caption)} " for caption in context.captions]
    found: list[Finding] = []
    for i, (role, text) in enumerate(draft.turns):
        before = draft.turns[i - 1][1] if i and role == Role.assistant else ""
        for quoted in _quotes(text, before):
            said = normal(quoted)
            if not _read(said, sources, config.text_similarity) and not any(f" {said} " in t for t in told):
                found.append(Finding(Check.invented_text, i, shown(quoted)))
    return list(dict.fromkeys(found))


def _quotes(text: str, question: str) -> Iterator[str]:
    question = _IN_WORDS.sub(" ", question)
    asks = bool(question) and bool(_ASKS.search(question)) and not _WOULD.search(question)
    about = asks or (bool(question) and bool(_ABOUT_TEXT.search(question)))
    quotes = [(m.start(), next(g for g in m.groups() if g)) for m in _QUOTE.finditer(text)]
    if quotes:
        invites = _TITLE.search(question) or _MAKES_UP.search(text)
        told = not invites and (about or bool(_CUE.search(_QUOTE.sub(" ", text))))
        yield from (q for at, q in quotes if normal(q) and (told or _WRITTEN.search(text[max(0, at - 60) : at])))
        return
    found = _unquoted(text)
    yield from found
    if asks and not found and not _NOTHING.search(text) and not _PLAIN_ANSWER.match(text.strip()):
        alone = _ALONE.search(text.strip())
        bare = next(g for g in alone.groups() if g) if alone else _TRAIL.sub("", _LEAD.sub("", text.strip()))
        if 0 < len(bare.split()) <= _SHORT and normal(bare):
            yield bare


def _unquoted(text: str) -> list[str]:
    """What is told as written without quotation marks, by its capitals."""
    named = [m.group(1) for p in (_CAPITALS, _NAMED, _STANDS) for m in p.finditer(text)]
    told = [n for n in named if len(normal(n)) > 1 and (_FORBIDS.match(n) or not _starts_common(n))]
    return [n for n in dict.fromkeys(told) if not any(n != other and n in other for other in told)]


def _starts_common(name: str) -> bool:
    return re.split(r"[ '’]", name)[0].lower() in _COMMON


def _read(quoted: str, sources: list[str], least: float) -> bool:
    """Whether a source has it, or something like it: OCR drops letters, and so do those who quote."""
    bare = quoted.replace(" ", "")
    for source in sources:
        if f" {quoted} " in f" {source} " or bare == source.replace(" ", ""):
            return True
        words, size = source.split(), len(quoted.split())
        for at in range(max(1, len(words) - size + 1)):
            window = " ".join(words[at : at + size])
            if SequenceMatcher(None, quoted, window, autojunk=False).ratio() >= least:
                return True
    return False
