"""What a caption may name: its noun phrases, as labels for masks.

English, by its closed classes of words and word endings: no model tells nouns from other words here, so that some verb
or adjective is among what is offered, and CLIP chooses. A text in another language has none of these words: each of its
words is offered alone, as it is written. Writing without spaces (Chinese, Japanese, Thai) offers nothing.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from stages.synthesize.checks import closed
from stages.synthesize.checks.words import number, tokens
from stages.synthesize.facts import COLOURS, speakable
from stages.synthesize.words import IRREGULAR, MASS, PAIRS, plural

MOST = 32
"""Labels of one sample."""
_CHARACTERS = 4_000
"""Of its captions; the rest is not read."""
_LONGEST = 3
"""Words of a phrase: `red fire truck`."""


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GRAMMAR = _listed(
    "a an the this that these those its their his her my your our it they he she we you i some any no each every all "
    "both another other others several many few much more most less one ones "
    "of in on at with to from by for near behind beside besides next under above below beneath between beyond over "
    "inside outside into onto against along across around among about as but and or nor so than then if while "
    "because though although since before after during through throughout past per until like off out up down "
    "underneath atop without upon amid also too only even just very really rather again together alone here there "
    "now today yesterday tomorrow tonight when where which who whom whose what how why not left right top bottom "
    "middle center centre side front back corner edge end part couple pair pairs group groups bunch lot lots set "
    "number series row rows variety kind type piece pieces "
    "look looks sit sits stand stands lie lies hold holds run runs walk walks wear wears show shows contain contains "
    "depict depicts feature features appear appears seem seems rest rests hang hangs fly flies ride rides play plays "
    "eat eats see sees make makes made get gets go goes come comes use uses buy visible present"
)
_MEASURES = _listed(
    "small large big little tiny huge giant tall short long wide narrow medium medium-sized mid-sized single double "
    "old young new good nice great beautiful pretty cute lovely amazing simple free various different similar same "
    "main own first second last next full empty whole half close high low higher lower lots "
    "online download royalty www http https com html"
)
"""Adjectives that any thing may have, and what only the web says: they tell no kind of thing."""
_MEDIA = _listed(
    "picture pictures image images photo photos photograph photographs photography illustration illustrations drawing "
    "drawings poster posters clipart vector vectors background backgrounds backdrop foreground scene scenes view views "
    "closeup close-up shot composition greyscale grayscale stock gallery print prints art artwork design wallpaper "
    "icon thumbnail screenshot caption img dsc jpg jpeg png gif webp studio"
)
"""Heads of phrases that name the picture, or where it is from, and no thing in it."""
_ING = _listed(
    "building ceiling clothing wing ring king string spring swing painting railing awning earring icing lightning "
    "dumpling duckling sibling sapling herring viking frosting stuffing bedding wiring flooring paving parking "
    "thing sling sting"
)
_ED = _listed("red bed shed sled seed weed reed feed steed moped sunbed bunkbed flowerbed toothed")
_IE = _listed("movie cookie zombie selfie brownie smoothie birdie hoodie prairie genie rookie pixie magpie")
_USE = re.compile(r"(ous|uis|aus|eus|^fus|^mus|^rus|cus|[^r]fus)es")
_LY = _listed("fly family butterfly lily belly jelly dragonfly trolley bully holly assembly dolly")
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_SPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""A character of a script that is written without spaces."""


def labels_in(captions: Sequence[str | None]) -> tuple[str, ...]:
    """Labels that the captions of one sample offer, lower case and singular, in order, without repeats; `MOST` at most.

    A phrase (`three small red fire trucks`) offers what it ends with, longest first (`red fire truck`, `fire truck`),
    and each word of it that is no colour (`truck`, `fire`).
    """
    return _offered("\n".join(text for text in captions if text)[:_CHARACTERS])


@lru_cache(4_096)
def _offered(text: str) -> tuple[str, ...]:
    words = tokens(text)
    found: dict[str, None] = {}
    for run in _runs(words) if _english(words) else ([word] for word in words if len(word) > 2 and _spelled(word)):
        for label in _of(run):
            if len(found) == MOST:
                return tuple(found)
            found.setdefault(label)
    return tuple(found)


def _english(words: Sequence[str]) -> bool:
    """Whether any word of it is English's own, or it is too short to need one: `red circle`."""
    own = [word for word in words if _WORD.fullmatch(word)]
    return (len(own) <= _LONGEST and all(word.isascii() for word in own)) or any(
        word in _CLOSED or word in _MEASURES or word in _OWN_COLOURS or number(word) is not None for word in own
    )


def _spelled(word: str) -> bool:
    return bool(_WORD.fullmatch(word)) and not _SPACED.search(word)


def _runs(words: Sequence[str]) -> Iterator[list[str]]:
    """Words that stand together, with nothing between them that no noun phrase holds."""
    run: list[str] = []
    for word, after in itertools.pairwise((*words, ".", ".")):
        if "-" in word and word.endswith("ed"):
            continue  # "black five-pointed star"
        owner = word.removesuffix("'s")
        if len(owner) > 1 and _spelled(owner) and not _breaks(owner, after):
            run.append(owner)
            if owner == word:
                continue
        if run and run[-1] not in _MEDIA:
            yield run
        run = []


def _breaks(word: str, after: str) -> bool:
    if word == "plus" and after.startswith("sign"):
        return False
    if word in _CLOSED or word in _MEASURES or number(word) is not None:
        return True
    if word.endswith("ing"):
        return word not in _ING
    if word.endswith("ed"):
        return word not in _ED
    return word.endswith("ly") and word not in _LY


def _of(run: list[str]) -> Iterator[str]:
    *before, head = run
    whole = [*before, singular(head)]
    for length in range(min(_LONGEST, len(whole)), 0, -1):
        yield from _label(whole[-length:])
    for word in (word for word in before if "-" not in word):
        yield from _label([singular(word)])


def _label(words: list[str]) -> Iterator[str]:
    label = " ".join(words)
    if not (len(words) == 1 and words[0] in (COLOURS | _MEDIA)) and (speakable(label) or not label.isascii()):
        yield label


def singular(noun: str) -> str:
    """`circles` → circle, `knives` → knife, `people` → person; pairs, mass nouns and singulars stay."""
    if noun in PAIRS or noun in MASS or noun in IRREGULAR:
        return noun
    if noun in _SINGULAR:
        return _SINGULAR[noun]
    if len(noun) <= 3 or not noun.endswith("s") or noun.endswith(("ss", "us", "is")):
        return noun
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-1] if noun[:-1] in _IE else f"{noun[:-3]}y"
    if noun.endswith(("sses", "xes", "ches", "shes", "zzes")) or (noun.endswith("uses") and not _USE.search(noun)):
        return noun[:-2]
    return noun[:-1] if plural(noun[:-1]) == noun else noun


_OWN_COLOURS = COLOURS - _listed("orange turquoise violet cyan magenta beige")
_CLOSED = _GRAMMAR | closed.FUNCTION | closed.PAST | closed.SEEING
_SINGULAR = {many: one for one, many in IRREGULAR.items()}
