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
    r"\b(?:reads?|reading|says?|said|saying|written|text|words?|wording|sign|letter(?:s|ing)?|titled|inscription|"
    r"inscribed|displays?|printed|spells?|logo|title|labell?ed|label|lettered|caption|banner|message|writing|slogan|"
    r"brand|poster|marked|engraved|painted|phrase|name|headline|stamped|bears?|tag|plate|read)\b|写着|文字|标志|字样|招牌|牌子",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\bwhat\b(?!.*\b(?:you|i|we|one|people|someone) (?:\w+ )?say\b).*"
    r"\b(?:say|says|read|reads|written|text|words?|spell|spells|writing|inscription|printed)\b|"
    r"\b(?:read|transcribe|quote)\b.*\b(?:text|sign|writing|words?|lettering)\b|写着什么|什么字|文字是",
    re.IGNORECASE | re.DOTALL,
)
_CAPITALS = re.compile(
    r"\b(?:reads?|reading|says?|saying|spells?(?: out)?|words?|text|displays?)[:,]? (?:the words? )?"
    r"([A-Z0-9][A-Z0-9&'’.-]+(?: [A-Z0-9][A-Z0-9&'’.-]*)*)(?![\w])"
)
_LEAD = re.compile(
    r"^(?:yes, )?(?:it|the (?:\w+ ){0,3}?(?:text|sign|writing|word|words|label|lettering|inscription)|they|that|this)"
    r"(?: clearly| simply| just| in the (?:image|picture|photo))? (?:reads?|says?|is|are|spells?(?: out)?|displays?)"
    r"[:,]?(?: as follows:)? ",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\b(?:no (?:\w+ )?(?:text|writing|words?|signs?|letters?|lettering)|not|nothing|none|cannot|can't|n't|"
    r"unreadable|illegible|unclear|blurr\w+|any)\b|没有|看不清|无法",
    re.IGNORECASE,
)
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
    asks = bool(question) and bool(_ASKS.search(question))
    quotes = [next(g for g in m.groups() if g) for m in _QUOTE.finditer(text)]
    if quotes and (asks or _CUE.search(_QUOTE.sub(" ", text))):
        yield from (q for q in quotes if normal(q))
        return
    yield from (m.group(1) for m in _CAPITALS.finditer(text) if len(normal(m.group(1))) > 1)
    if asks and not _NOTHING.search(text):
        bare = _LEAD.sub("", text.strip())
        if 0 < len(bare.split()) <= _SHORT and normal(bare):
            yield bare


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
