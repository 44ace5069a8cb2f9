"""From words to labels: which labels of a vocabulary a noun phrase may mean, and how many it says there are.

A vocabulary whose labels start with a colour (`red circle`) yields nouns without one: `circle` means every colour of
it, and a colour before the noun chooses among them.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from stages.synthesize import words
from stages.synthesize.checks import closed, coco
from stages.synthesize.checks.words import is_word, number

DEFINITE = frozenset({"the", "this", "that", "these", "those", "its", "their", "his", "her"})
DETERMINERS = DEFINITE | {"a", "an", "any", "some", "no", "each", "every", "all", "both", "another", "several", "many"}
_JOINS = frozenset({"and", "or", "with", "of", "by", "on", "near", "behind", "beside", "in", "for", "to"})
_STOPS = frozenset({
    "is", "are", "was", "were", "be", "has", "have", "there", "it", "i", "you", "we", "they", "he", "she", "than", "as",
    "see", "do", "does", "not", "which", "who", "that", "how", "what", "where", "left", "right", "above", "below",
})  # fmt: skip
_UNREAL = frozenset({
    "toy", "stuffed", "fake", "plush", "statue", "ceramic", "wooden", "plastic", "paper", "inflatable", "rubber", "hot",
    "imaginary", "cartoon", "painted", "carved", "rocking", "sea", "guinea", "record", "dvd", "snow", "mouse", "teddy",
    "toast", "porcelain", "miniature", "model", "bow", "neck",
})  # fmt: skip
"""Before a noun they make another thing of it."""
_FOLLOWERS = frozenset({
    "is", "are", "was", "were", "has", "have", "had", "that", "which", "who", "whose", "on", "in", "at", "with",
    "and", "or", "to", "of", "by", "near", "next", "under", "above", "below", "beneath", "behind", "beside",
    "besides", "between", "beyond", "over", "inside", "outside", "into", "from", "for", "against", "along", "across",
    "around", "among", "as", "but", "while", "than", "here", "there", "visible", "present", "shown", "seen", "sits",
    "sit", "stands", "stand", "lies", "lie", "looks", "look", "appears", "appear", "runs", "run", "walks", "walk",
    "rests", "rest", "holds", "hold", "wears", "wear", "seems", "seem", "can", "could", "does", "do", "isn't",
    "aren't", "whom", "underneath", "nearby", "together", "also", "then", "further", "higher", "lower", "left",
    "right", "alone", "too", "plus", "when", "where", "atop", "without", "about", "like", "relative", "compared",
    "because", "so", "if", "just", "hangs", "hang", "floats", "float", "occupies", "catches", "faces", "waits",
    "leans", "stares", "towards", "toward", "adds", "add", "take", "takes", "up", "down", "off", "out", "the", "a",
    "an", "it", "they", "you", "i", "we", "altogether", "total", "only", "again", "dominates", "first", "even",
    "reflects", "belongs", "joins", "looking", "make", "makes", "fill", "fills", "s", "share", "both", "either",
    "all", "not", "directly", "somewhere", "gives", "draws", "keeps", "shares", "side", "positioned", "anywhere",
    "today", "did", "give", "show", "shows", "would", "might", "may", "will", "must", "should", "contrast", "form",
    "stay", "remain", "please", "draw", "keep", "forms", "stays", "remains", "belong", "get", "gets", "wait", "lean",
    "face", "catch", "dominate", "contrasts", "blend", "line", "move", "moves", "exactly", "sleeps", "eats", "be",
    "been", "easy", "hard", "happens", "happen", "come", "comes", "itself", "themselves", "sat",
    "stood", "lay", "hung", "became", "becomes", "somehow", "perhaps", "maybe", "probably", "though", "although",
    "since", "before", "after", "during", "through", "throughout", "past", "onto", "per", "via", "within", "until",
    "what", "how", "why", "he", "she", "his", "her", "its", "their", "my", "your", "our", "this", "these", "those",
    "some", "any", "no", "each", "one", "two", "three", "more", "less", "much", "many", "very", "quite", "rather",
    "really", "well", "now", "however", "put", "set", "made", "got", "took", "came", "went", "won't",
    "wouldn't", "couldn't", "shouldn't", "can't", "cannot", "doesn't", "don't", "wasn't", "weren't", "hasn't",
    "haven't", "didn't", "similar", "different", "large", "small", "big", "tall", "close", "far", "front", "apart",
    "full", "open", "empty", "ready", "clear", "upside", "part", "except", "upon", "amid", "who's",
})  # fmt: skip
_HEARERS = ("ladies", "and", "gentlemen")
_READ_MOST = 4_096
"""Sentences whose mentions are remembered."""
_HEADED = _FOLLOWERS | closed.FUNCTION | closed.PAST
_BEDS = frozenset({"dog", "cat", "pet", "flower", "garden", "truck", "river"})
_ACTIVITIES = frozenset({"training", "racing", "riding", "parking", "setting", "cutting", "opening", "building"})
_ADJECTIVE_REACH = 4
_MODIFYING = frozenset({
    "luggage", "cattle", "broccoli", "skis", "scissors", "human", "passenger", "player", "baby", "child",
    "adult", "tennis",
    "kid", "police", "tourist", "sports", "pedestrian", "spectator", "motorcycle", "bicycle", "sheep", "oven", "toilet",
})  # fmt: skip
"""Nouns that often stand before another one: in front of an unknown word they are no heads."""
_ADJECTIVAL = ("able", "ible", "ful", "ous", "ive", "less", "ish", "ant", "ent")
_PARTS = frozenset({
    "tracks", "stops", "toys", "bowls", "lights", "doors", "windows", "seats", "wheels", "houses", "shelves", "legs",
    "boxes", "parts", "pieces", "slices", "peels", "trees", "plants", "players", "riders", "drivers", "owners",
    "lovers", "races", "shows", "stations", "cages", "feeders", "trails", "trunks", "frames", "sheets",
    "covers", "handles", "hands", "toppings", "tables", "stands", "racks", "cars", "carts", "lanes", "parks", "shops",
    "stores", "statues", "figures", "motifs", "patterns", "prints", "engine", "cushions", "caps", "faces", "stalls",
    "enclosures", "wings", "crossings", "games", "fans", "rides", "treats", "lids", "tanks", "courts", "rackets",
    "scene", "element", "event", "apartment", "department", "plant", "equipment", "garment", "compartment", "patient",
    "client", "student", "agent", "parent", "tent", "attendant", "restaurant", "assistant", "enthusiast", "motive",
})  # fmt: skip
"""Nouns in -s, or that look like adjectives: behind another noun they make a compound of it, not a sentence."""
_AUXILIARIES = frozenset({
    "does", "do", "did", "can", "could", "would", "will", "should", "might", "may", "must", "let", "makes", "make",
    "made", "making", "see", "doesn't", "didn't", "can't", "watch", "help",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """What a noun may mean. `covers`: it means all of these labels, not a kind of them."""

    labels: frozenset[str]
    covers: bool
    plural: bool
    coloured: bool


@dataclass(frozen=True, slots=True)
class Mention:
    """A noun phrase, tokens `first` to `end` (exclusive), the noun from `noun` on."""

    first: int
    noun: int
    end: int
    labels: frozenset[str]
    base: frozenset[str]
    """The labels of the noun whatever its colour; equals `labels` where no colour is told."""
    covers: bool
    plural: bool
    colour: str | None
    count: int | None
    determiner: str | None
    modified: bool
    """An adjective other than the colour stands before the noun: it may mean some of what is there."""

    @property
    def definite(self) -> bool:
        return self.determiner in DEFINITE


class Lexicon:
    """The nouns of a vocabulary."""

    def __init__(self, vocabulary: frozenset[str]) -> None:
        families: defaultdict[str, set[str]] = defaultdict(set)
        for label in vocabulary:
            colour, _, noun = label.partition(" ")
            if noun and colour in coco.COLOURS:
                families[noun].add(label)
            else:
                families[label].add(label)
        self.everything = vocabulary
        self.coloured = any(labels != {noun} for noun, labels in families.items())
        self._terms: dict[tuple[str, ...], Term] = {}
        self._own: set[tuple[str, ...]] = set()
        for noun, labels in families.items():
            found = frozenset(labels)
            coloured = found != {noun}
            synonyms = coco.SHAPES.get(noun, ()) if coloured else coco.NAMES.get(noun, ())
            self._add((noun, *synonyms), found, True, coloured)
            self._own |= {tuple(form.split()) for form in (noun, coco.plural(noun), words.plural(noun))}
            if not coloured:
                self._add(coco.KINDS.get(noun, ()), found, False, False)
        for word, labels in coco.LOOSE.items():
            if not self.coloured and set(labels) <= vocabulary:
                self._add((word,), frozenset(labels), False, False)
        if self.coloured:
            self._add(("shape",), vocabulary, True, True)
        self._longest = max((len(t) for t in self._terms), default=0)
        self._read = lru_cache(_READ_MOST)(self._mentions)

    def _add(self, phrases: tuple[str, ...], labels: frozenset[str], covers: bool, coloured: bool) -> None:
        for phrase in phrases:
            many = phrase in ("people", "cattle", "skis", "scissors", "broccoli", "luggage")
            self._terms.setdefault(tuple(phrase.split()), Term(labels, covers, many, coloured))
            self._terms.setdefault(tuple(coco.plural(phrase).split()), Term(labels, covers, True, coloured))

    def is_own_name(self, noun: tuple[str, ...]) -> bool:
        """Whether these words are a label (without its colour) in singular or plural, no synonym."""
        return noun in self._own

    def mentions(self, tokens: tuple[str, ...]) -> list[Mention]:
        """Noun phrases in order, longest match first; words that are part of another noun are left out."""
        return list(self._read(tokens))  # several checks read the same sentences

    def _mentions(self, tokens: tuple[str, ...]) -> tuple[Mention, ...]:
        found: list[Mention] = []
        at = 0
        while at < len(tokens):
            if tokens[at : at + 3] == _HEARERS:
                at += 3
                continue
            sizes = range(min(self._longest, len(tokens) - at), 0, -1)
            length = next((n for n in sizes if tokens[at : at + n] in self._terms), 0)
            if length:
                floor = found[-1].end if found else 0
                found += self._phrase(tokens, at, at + length, floor)
            at += length or 1
        return tuple(found)

    def _begins(self, tokens: tuple[str, ...], at: int) -> bool:
        """Whether another noun of the vocabulary follows at once: `passenger jets`."""
        return any(tokens[at : at + n] in self._terms for n in range(1, min(self._longest, len(tokens) - at) + 1))

    def _phrase(self, tokens: tuple[str, ...], start: int, end: int, floor: int) -> Iterator[Mention]:
        term = self._terms[tokens[start:end]]
        before = tokens[start - 1] if start > floor else ""
        if before in _UNREAL or (tokens[start] == "bed" and before in _BEDS):
            return
        first, colours, adjectives = _modifiers(tokens, start, floor)
        asked = bool(_AUXILIARIES.intersection(tokens[max(floor, first - 3) : first]))
        count, determiner = _counted(tokens, first, floor)
        several = words.plural(" ".join(tokens[start:end])) == " ".join(tokens[start:end])
        weak = tokens[start] in _MODIFYING
        plural, asked = term.plural and not weak, asked and not weak
        determined = determiner is not None and (count is None or count == 1) and not weak
        if not _ends_phrase(tokens, end, plural, asked, determined) or self._begins(tokens, end):
            return
        ambiguous = tokens[start] in coco.AMBIGUOUS or tokens[start].rstrip("s") in coco.AMBIGUOUS
        if tokens[start] in coco.COLOURS and tokens[end : end + 1] in (("and",), ("or",)):
            return  # "orange and white"
        if ambiguous and not (before in DETERMINERS or before in _JOINS or count is not None or colours or adjectives):
            return
        if count is not None and count > 1 and not term.plural and not several:
            return  # "a five car train", "four sided clock"
        modified = bool(adjectives)
        if not term.coloured:
            modified = modified or bool(colours)
            colours = []
        if not colours:
            labels = term.labels
            yield Mention(
                first, start, end, labels, labels, term.covers, term.plural, None, count, determiner, modified
            )
        for colour in colours:
            labels = frozenset(f for f in term.labels if f.partition(" ")[0] == colour)
            alone = len(colours) == 1
            if labels:
                yield Mention(
                    first, start, end, labels, term.labels, term.covers, term.plural, colour, count if alone else None,
                    determiner, modified or not alone,
                )  # fmt: skip


def _ends_phrase(tokens: tuple[str, ...], end: int, plural: bool, asked: bool, determined: bool) -> bool:
    """Whether the noun is the head of its phrase: `bus stop` and `dog's` are not about a bus or a dog.

    A plural noun rarely modifies another. `asked`: an auxiliary stands before the phrase, so that a verb may follow.
    """
    if end == len(tokens):
        return True
    after = tokens[end]
    if not is_word(after):
        return after != "-"
    if after in _HEADED or after in coco.COLOURS or plural:
        return True
    if after in _ACTIVITIES or after in _PARTS:
        return False
    if after.endswith(("ing", "ly", *_ADJECTIVAL)) or (after.endswith("ed") and after != "bed"):
        return True
    third_person = after.endswith("s") and not after.endswith(("ss", "us", "'s"))
    return asked or (third_person and determined)


def _modifiers(tokens: tuple[str, ...], start: int, floor: int) -> tuple[int, list[str], list[str]]:
    """(where the modifiers begin, colours, other adjectives); other words count only where a determiner opens them."""
    colours: list[str] = []
    adjectives: list[str] = []
    at = start
    while at > floor and start - at < _ADJECTIVE_REACH:
        word = tokens[at - 1]
        if word in coco.COLOURS:
            colours.append(coco.COLOURS[word])
        elif word in ("and", "or") and colours and at - 2 >= floor and tokens[at - 2] in coco.COLOURS:
            pass
        elif not is_word(word) or word in _STOPS or word in _JOINS or word in DETERMINERS or _opens(word):
            break
        else:
            adjectives.append(word)
        at -= 1
    opened = at > floor and (tokens[at - 1] in DETERMINERS or _opens(tokens[at - 1]) or tokens[at - 1] == "of")
    if adjectives and not opened:
        while at < start and tokens[at] not in coco.COLOURS:
            at += 1
        adjectives = []
    return at, colours, adjectives


def _opens(word: str) -> bool:
    return number(word) is not None or word in ("single", "pair", "few")


def _counted(tokens: tuple[str, ...], first: int, floor: int) -> tuple[int | None, str | None]:
    """(count told, determiner) of the words before the modifiers."""
    last = tokens[first - 1] if first > floor else ""
    previous = tokens[first - 2] if first - 1 > floor else ""
    if last == "of" and previous == "pair":
        return 2, "a"
    if last == "single":
        return 1, previous or None
    if last in DEFINITE and previous == "of" and first - 3 >= floor and (part := number(tokens[first - 3])) is not None:
        return part, last
    told = number(last)
    if told is not None:
        return told, previous if previous in DETERMINERS else None
    return None, last if last in DETERMINERS else None


@lru_cache(maxsize=32)
def lexicon_of(vocabulary: frozenset[str]) -> Lexicon:
    """Built once per vocabulary."""
    return Lexicon(vocabulary)
