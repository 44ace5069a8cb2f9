"""English for labels: articles, plurals, numbers.

inflect 7.6 was tried on COCO's labels: right on the regular ones, as the rules here are, and wrong on most that need
care ("skiss", "a scissors", "a broccoli", "tvs", "peoples"); so the irregular ones are listed.
"""

import re
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType


class Number(StrEnum):
    """How a noun is spoken of."""

    single = "single"
    """a dog, two dogs"""
    pair = "pair"
    """scissors: a pair of scissors, two pairs of scissors; the scissors are"""
    plural = "plural"
    """flowers, people: some flowers, the flowers are; one label may stand for one or many"""
    mass = "mass"
    """water, broccoli: some water, the water is"""


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


MASS = _listed(
    "bread broccoli butter cereal cheese chocolate clothing cloth coffee corn dirt equipment fire flour food foliage "
    "fog fruit fur furniture garlic grass gravel hair ham hay ice jewelry jewellery juice lettuce luggage meat "
    "metal milk money moss mud paper pasta pepper plastic rain rice rubble salad salt sand shrubbery silverware sky "
    "smoke snow soup spinach steam straw sugar tea toast traffic water wheat wine wood"
)
"""Nouns without "a". Some may take it ("a salad"); without it the question is still right."""
PAIRS = _listed(
    "binoculars eyeglasses glasses goggles headphones jeans leggings pajamas pants pliers pyjamas scissors shorts skis "
    "sunglasses tights tongs trousers tweezers"
)
PLURALS = _listed("cattle children clothes dice feet geese leaves men mice people police stairs teeth wolves women")
ENDS_IN_S = _listed("atlas bus canvas cosmos gas glass iris lens plus tennis trellis walrus")
"""Singular, though they end in s; so are all in -ss, -us and -is."""
IRREGULAR = MappingProxyType(
    {
        "aircraft": "aircraft", "bison": "bison", "buffalo": "buffalo", "calf": "calves", "child": "children",
        "cod": "cod", "deer": "deer", "die": "dice", "elf": "elves", "fish": "fish", "foot": "feet", "gas": "gases",
        "goose": "geese", "half": "halves", "knife": "knives", "leaf": "leaves", "life": "lives", "loaf": "loaves",
        "man": "men", "moose": "moose", "mouse": "mice", "ox": "oxen", "person": "people", "policeman": "policemen",
        "fireman": "firemen", "fisherman": "fishermen", "salmon": "salmon", "scarf": "scarves", "series": "series",
        "sheep": "sheep", "shelf": "shelves", "shrimp": "shrimp", "snowman": "snowmen", "spacecraft": "spacecraft",
        "species": "species", "squid": "squid", "swine": "swine", "thief": "thieves", "tooth": "teeth",
        "trout": "trout",
        "watercraft": "watercraft", "wife": "wives", "wolf": "wolves", "woman": "women",
        "bus": "buses", "lens": "lenses", "quiz": "quizzes", "potato": "potatoes", "tomato": "tomatoes",
        "mango": "mangoes", "mosquito": "mosquitoes", "buoy": "buoys",
    }
)  # fmt: skip
SPELLED = MappingProxyType({"tv": "TV", "suv": "SUV", "atm": "ATM", "bbq": "BBQ", "cd": "CD", "dvd": "DVD", "pc": "PC"})
NUMERALS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_SPELLED_MOST = 12

_LINK = re.compile(r" (of|in|on|with|at|for|from|to|without) ")
_YOO = re.compile(r"(uni(?!n|m)|use|eu|one\b|once|ubi|uk|ut[ei])", re.IGNORECASE)
_SILENT_H = re.compile(r"(hour|honest|honou?r|heir)", re.IGNORECASE)


def number(label: str) -> Number:
    """How `label` is spoken of, by its head noun ("bunch of bananas": bunch). Unknown nouns in -s are plurals."""
    head = _head(label)[1].casefold()
    for nouns, kind in ((MASS, Number.mass), (PAIRS, Number.pair), (PLURALS, Number.plural)):
        if head in nouns:
            return kind
    if head.endswith("s") and head not in ENDS_IN_S | set(IRREGULAR) and not head.endswith(("ss", "us", "is")):
        return Number.plural if len(head) > 3 else Number.single
    return Number.single


@lru_cache(4_096)
def plural(label: str) -> str:
    """hot dogs, wine glasses, knives, pairs of scissors; plurals and mass nouns stay as they are."""
    kind = number(label)
    if kind is Number.pair:
        return f"pairs of {spelled(label)}"
    if kind is not Number.single:
        return spelled(label)
    before, head, after = _head(spelled(label))
    return f"{before}{_many(head)}{after}"


def a(label: str) -> str:
    """One of them, or some: a dog, an umbrella, a pair of scissors, some water, some people."""
    kind, text = number(label), spelled(label)
    if kind is Number.pair:
        return f"a pair of {text}"
    return f"{_article(text)} {text}" if kind is Number.single else f"some {text}"


def the(label: str) -> str:
    return f"the {spelled(label)}"


def verb(label: str) -> str:
    """Is or are, as in "where is the dog", "where are the scissors"."""
    return "are" if number(label) in (Number.pair, Number.plural) else "is"


def counted(count: int) -> str:
    """zero … twelve, then digits."""
    return NUMERALS[count] if 0 <= count <= _SPELLED_MOST else str(count)


def spelled(label: str) -> str:
    """The label as written inside a sentence: Title Case lowered, acronyms in capitals."""
    return " ".join(_word(word) for word in label.split())


def sentence(text: str) -> str:
    """With a capital first letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def _word(word: str) -> str:
    if word.casefold() in SPELLED:
        return SPELLED[word.casefold()]
    title = word[:1].isupper() and word[1:].islower() and not word[1:].startswith("-")
    return word.lower() if title else word


def _head(label: str) -> tuple[str, str, str]:
    """What comes before the head noun, the head noun, what comes after."""
    link = _LINK.search(label)
    phrase, after = (label[: link.start()], label[link.start() :]) if link else (label, "")
    before, space, head = phrase.rpartition(" ")
    return before + space, head, after


def _many(noun: str) -> str:
    low = noun.casefold()
    if low in IRREGULAR:
        return IRREGULAR[low]
    return f"{noun}s" if noun.isupper() else regular_plural(noun)


def regular_plural(noun: str) -> str:
    """By the noun's ending alone."""
    low = noun.casefold()
    if low.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if low.endswith("y") and low[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def _article(text: str) -> str:
    first = text.split(maxsplit=1)[0]
    if (first.isupper() and len(first) > 1) or len(first.split("-")[0]) == 1:
        return "an" if first[0] in "AEFHILMNORSXaefhilmnorsx8" else "a"
    if first[0].isdigit():
        return "an" if first.startswith(("8", "11", "18")) else "a"
    if _SILENT_H.match(first):
        return "an"
    return "an" if first[0].casefold() in "aeiouéèàáöü" and not _YOO.match(first) else "a"
