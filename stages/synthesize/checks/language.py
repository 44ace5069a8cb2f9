"""Whether the turns are in the language asked for: by script, and for English against its neighbours by small words.

Text in quotation marks does not count: a sign may be in any language. Other languages than en and zh are not judged.
"""

import re

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.words import is_word, sentences, shown, tokens
from stages.synthesize.context import Context, Draft

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|「[^」]*」|『[^』]*』|《[^》]*》")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_KANA_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")
_SURE = 6
"""Words (or ideographs) below which a turn is too short to tell."""
_ENGLISH = frozenset({
    "the", "a", "an", "of", "and", "is", "are", "in", "on", "at", "with", "to", "it", "that", "this", "there", "what",
    "which", "how", "where", "does", "do", "not", "no", "yes", "its", "for",
})  # fmt: skip
_NEIGHBOURS = frozenset({
    "le", "la", "les", "des", "une", "est", "dans", "avec", "sur", "pour", "qui", "que", "el", "los", "las", "una",
    "en", "por", "con", "del", "der", "die", "das", "und", "ist", "ein", "eine", "mit", "auf", "nicht", "il", "gli",
    "della", "sono", "di", "che", "um", "uma", "os", "não", "é", "com", "da", "het", "een", "van",
})  # fmt: skip


def wrong_language(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    found: list[Finding] = []
    for i, (_, text) in enumerate(draft.turns):
        bare = _QUOTED.sub(" ", text)
        wrong = draft.language == "en" and (not _english(bare) or _slips(bare, _HAN, _LATIN))
        wrong = wrong or (draft.language == "zh" and (not _chinese(bare) or _slips(bare, _LATIN, _HAN)))
        if wrong:
            found.append(Finding(Check.wrong_language, i, shown(text)))
    return found


def _slips(text: str, script: "re.Pattern[str]", own: "re.Pattern[str]") -> bool:
    """Whether a whole sentence is in the other script: 6 ideographs, or 30 Latin letters, and none of its own."""
    least = _SURE if script is _HAN else 5 * _SURE
    return any(len(script.findall(s.text)) >= least and not own.search(s.text) for s in sentences(text))


def _english(text: str) -> bool:
    letters, latin = len(_LETTER.findall(text)), len(_LATIN.findall(text))
    foreign = letters - latin
    if foreign >= _SURE or (foreign >= 2 and foreign * 2 > letters):
        return latin > foreign * 10
    words = [t for t in tokens(text) if is_word(t)]
    strange = sum(w in _NEIGHBOURS for w in words)
    return len(words) < _SURE or strange <= 1 or sum(w in _ENGLISH for w in words) >= strange


def _chinese(text: str) -> bool:
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if len(_KANA_HANGUL.findall(text)) > han * 0.2:
        return False
    return han * 2 >= latin or (han == 0 and latin < _SURE)
