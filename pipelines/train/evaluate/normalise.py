"""Answers made comparable, as VQAv2's official evaluation makes them (GT-Vision-Lab/VQA, vqaEval.py, commit a013f00).

Its quirks decide scores and are kept: punctuation becomes a space, or nothing where it stands beside a space or the
answer has a comma between digits; a period goes unless a digit follows it, and only the first 32 do.
"""

import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32
"""re.UNICODE, which vqaEval.py hands to `sub` in the place of its count."""
_COUNTED = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(i) for i, word in enumerate(_COUNTED.split())}
_ARTICLES = frozenset({"a", "an", "the"})
_WITHOUT = """ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll
how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've
shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're
there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd
where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're
you've"""
"""Written without the apostrophe, they get it."""
_LAST = """couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've you'd've"""
"""Written with one apostrophe alone, whichever, they get the other."""


def _contractions() -> dict[str, str]:
    out = {word.replace("'", ""): word for word in _WITHOUT.split()}
    for word in _LAST.split():
        head, middle, tail = word.split("'")
        out[f"{head}'{middle}{tail}"] = out[f"{head}{middle}'{tail}"] = word
    out |= {"somebody'd": "somebodyd", "y'allll": "y'all'll", "yall'll": "y'all'll"}  # the first as it is there
    out |= dict.fromkeys(("yall'd've", "y'alld've", "y'all'dve"), "y'all'd've")
    out |= dict.fromkeys(("ow's'at", "'ows'at", "'ow'sat"), "'ow's'at")
    return out


CONTRACTIONS = _contractions()
"""As found → as it should be. The official table's Im, Ive, Id've and I'dve are left out: words are in lower case when
they are looked up."""


def plain(text: str) -> str:
    """On one line, without white space around it: all that is done where ten people agree."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalised(text: str) -> str:
    """vqaEval.py's processPunctuation and processDigitArticle."""
    return _words(_unpunctuated(text))


def evalai(text: str) -> str:
    """Pythia's EvalAIAnswerProcessor, which TextVQA is scored with (haotian-liu/LLaVA, llava/eval/m4c_evaluator.py)."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return normalised(plain(text))


def _unpunctuated(text: str) -> str:
    out, comma = text, _COMMA.search(text) is not None
    for mark in _PUNCTUATION:
        gone = comma or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if gone else " ")
    return _PERIOD.sub("", out, count=_PERIODS)


def _words(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
