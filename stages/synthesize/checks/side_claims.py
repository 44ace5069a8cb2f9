"""What a conversation says of left, right, above and below: of one thing and another, and of a thing in the picture.

"On top of", "over", "under" and "on its left" are not read: they may mean touching, or the thing's own left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from stages.synthesize.checks.lexicon import Lexicon, Mention
from stages.synthesize.checks.side_words import WORDS, phrase_of, side_of
from stages.synthesize.checks.statements import Exchange, exchanges, is_negated
from stages.synthesize.checks.words import Sentence, is_word
from stages.synthesize.context import Draft
from stages.synthesize.relations import OPPOSITE, Relation

_PICTURE = frozenset({"image", "picture", "photo", "photograph", "frame", "scene", "drawing", "canvas", "composition"})
_FILL = frozenset({
    "is", "are", "was", "sits", "stands", "lies", "appears", "located", "positioned", "placed", "that", "which", "to",
    "on", "at", "the", "directly", "just", "immediately", "slightly", "further", "farther", "and", "can", "be", "seen",
    "found", "situated", "well", "far", "a", "bit", "little", "clearly", "standing", "sitting", "lying", "somewhere",
    "floating", "hangs", "resting", "rests", "set", "off", "in", "image", "picture", "indeed", "down", "up", "both",
    "then", "here", "drawn", "hanging", "visible", "there", "more", "being", "quite", "shown", "floats",
    "way", "over", "should", "must", "been", "has", "sat", "put", "could",
    "you'll", "would", "will", "have", "i", "we", "one", "say", "remains", "rather", "exact", "precise",
    "were", "sit", "lie", "stand", "hang", "appear", "seems", "seem", "occupies", "spot", "space",
    "area", "still", "it's",
    "arranged", "depicted", "pictured", "captured", "laid", "actually", "facing", "partially",
    "occupying", "itself", "all", "closer", "slight",
})  # fmt: skip
_PLACE = frozenset({"where", "side", "positioned", "located", "position", "direction", "relation", "or"})
_ABOUT_IT = frozenset({
    "it", "it's", "they", "they're", "yes", "he", "she", "he's", "she's", "you", "would", "will", "find", "see",
    "look", "for", "goes", "go", "belongs",
    "sure", "well", "one", "that", "i'd", "that's", "its", "position", "place", "location",
})  # fmt: skip
_OPENS = frozenset({
    "is", "are", "sits", "there", "there's", "we", "you", "i", "stands", "lies", "appears", "can", "you've", "we've",
    "you'll", "one", "rests", "comes",
})  # fmt: skip
_ARTICLES = frozenset(
    {"a", "an", "the", "one", "see", "single", "find", "be", "seen", "have", "notice", "rests", "got", "will", "can"}
)
_REACH = 9


@dataclass(frozen=True, slots=True)
class Claim:
    """`a` lies on side `side` of `b`; `b` None: of the picture."""

    turn: int
    sentence: Sentence
    a: Mention
    side: Relation
    b: Mention | None
    denied: bool = False


def claims(draft: Draft, lexicon: Lexicon) -> Iterator[Claim]:
    """Of answers, and of questions that are answered by yes or no."""
    for exchange in exchanges(draft):
        turn = exchange.turn + 1
        topic = _topic(exchange, lexicon)
        named = [m for s in exchange.question for m in lexicon.mentions(s.tokens)]
        for sentence in exchange.answer:
            if not sentence.asks:
                yield from _told(turn, sentence, lexicon, topic)
                yield from _pronominal(turn, sentence, lexicon, topic, named)
                yield from _placed(turn, sentence, lexicon)
        asked = exchange.put
        if asked and exchange.yes is not None and "or" not in asked.tokens:
            for claim in _told(turn, asked, lexicon, None):
                yield Claim(turn, asked, claim.a, claim.side, claim.b, denied=not exchange.yes)
        yield from _answered(exchange, lexicon)


def _told(turn: int, sentence: Sentence, lexicon: Lexicon, topic: Mention | None) -> Iterator[Claim]:
    words = sentence.tokens
    mentions = lexicon.mentions(words)
    for side, start, end in _side_phrases(words, mentions):
        before = next((m for m in reversed(mentions) if m.end <= start), None)
        after = next((m for m in mentions if m.first >= end), None)
        if after is not None and not _near(words, end, after.first):
            after = None
        joined = before is not None and _joined(words, before.end, start)
        if after is None:
            if joined and before is not None and _of_picture(words, end) and not is_negated(words, before):
                yield Claim(turn, sentence, before, side, None)
        elif is_negated(words, after):
            continue
        elif joined and before is not None:
            yield Claim(turn, sentence, before, side, after)
        elif before is None:
            if start <= 4:
                yield from _inverted(turn, sentence, mentions, after, side)
            if topic is not None and _pronoun(words[:start]):
                yield Claim(turn, sentence, topic, side, after)


def _side_phrases(words: tuple[str, ...], mentions: list[Mention]) -> Iterator[tuple[Relation, int, int]]:
    """(side, start, end) of all that relate something to what follows."""
    for at in range(len(words)):
        side = side_of(words, at)
        if side is None or any(m.first <= at < m.end for m in mentions):
            continue
        start, end = phrase_of(words, at)
        if end is not None:
            yield side, start, end


def _pronominal(
    turn: int, sentence: Sentence, lexicon: Lexicon, topic: Mention | None, named: list[Mention]
) -> Iterator[Claim]:
    """`The dog is left of it`, `above it is a cat`, `the former is below the latter`, `… above the other`."""
    words = sentence.tokens
    mentions = lexicon.mentions(words)
    for side, start, end in _side_phrases(words, mentions):
        pointed = words[end] if words[end : end + 1] in (("it",), ("them",)) else " ".join(words[end : end + 2])
        if pointed not in ("it", "them", "the other", "the latter", "the former"):
            continue
        speaks = start == 0 or {"it", "it's", "they", "they're"} & set(words[:start])
        itself = topic if speaks and _pronoun(words[:start]) else None
        a = _subject(words, start, end, mentions, named) or itself
        if a and topic and words[0] in ("it", "it's", "they") and "," in words[a.end : start] and a.noun < start:
            a = topic  # "It is next to the cat, to be exact below it"
        if a is None or is_negated(words, a):
            continue
        pool = {m.labels: m for m in (*named, *mentions) if m.labels != a.labels}
        if pointed in ("the latter", "the former") and len(named) == 2:
            pool = {m.labels: m for m in (named[pointed == "the latter"],) if m.labels != a.labels}
        if len(pool) == 1:
            yield Claim(turn, sentence, a, side, next(iter(pool.values())))


def _subject(
    words: tuple[str, ...], start: int, end: int, mentions: list[Mention], named: list[Mention]
) -> Mention | None:
    before = next((m for m in reversed(mentions) if m.end <= start), None)
    follows = next((m for m in mentions if m.first > end), None)
    if (
        follows is not None
        and words[start - 1 : start] == (",",)
        and words[end + 1 : follows.first] in ((",",), (",", "the"))
    ):
        return follows
    if before is not None:
        return before if _joined(words, before.end, start) else None
    if len(named) == 2 and words[:start].count("former") + words[:start].count("latter") == 1:
        return named["latter" in words[:start]]
    after = next((m for m in mentions if m.first > end), None)
    if after is None:
        return None
    between = [t for t in words[end + 1 : after.first] if is_word(t)]
    return after if between and all(t in _OPENS | _ARTICLES for t in between) else None


def _placed(turn: int, sentence: Sentence, lexicon: Lexicon) -> Iterator[Claim]:
    """`The dog is on the left, while the cat is on the right`; `on the left there is a dog`."""
    words = sentence.tokens
    mentions = lexicon.mentions(words)
    found: list[tuple[Mention, Relation]] = []
    for at in range(len(words)):
        side = side_of(words, at)
        if side is None or at < 2 or words[at - 1] != "the" or words[at - 2] not in ("on", "at", "to", "in"):
            continue
        end = at + 2 if words[at + 1 : at + 2] in (("side",), ("half",), ("part",)) else at + 1
        if words[end : end + 1] in (("of",), ("than",), ("from",), ("hand",), ("corner",), ("and",)) and (
            words[end] != "and" or words[end + 1 : end + 2] in (("left",), ("right",))
        ):
            continue
        before = next((m for m in reversed(mentions) if m.end <= at - 2), None)
        after = next((m for m in mentions if m.first >= end), None)
        if before is not None and all(t in _FILL for t in words[before.end : at - 2]):
            found.append((before, side))
        elif after is not None and all(t in _OPENS | _ARTICLES or t == "," for t in words[end : after.first]):
            found.append((after, side))
    for mention, side in found:
        if not is_negated(words, mention):
            yield Claim(turn, sentence, mention, side, None)
            yield from (Claim(turn, sentence, mention, side, m) for m, s in found if s is OPPOSITE[side])


def _near(words: tuple[str, ...], start: int, end: int) -> bool:
    articles = ("the", "a", "an", "that", "this", "one", "single", "lone", "only", "where")
    return all(t in articles for t in words[start:end])


def _joined(words: tuple[str, ...], start: int, end: int) -> bool:
    """Only words of placing between the thing and its side, and perhaps a clause between commas."""
    between = list(words[start:end])
    if between[:1] == [","] and "," in between[1:]:
        between = between[len(between) - between[::-1].index(",") :]
    return len(between) <= _REACH and all(t in _FILL or t in ",:—–" or t.endswith("ly") for t in between)


def _of_picture(words: tuple[str, ...], end: int) -> bool:
    return any(t in _PICTURE for t in words[end : end + 3])


def _pronoun(words: tuple[str, ...]) -> bool:
    """Whether the clause that ends here has no other subject than "it"."""
    marks = [k for k, t in enumerate(words) if t in (",", ";", ":", "—", "–")]
    clause = words[marks[-1] + 1 :] if marks else words
    rest = [t for t in (clause or words) if is_word(t)]
    return all(t in _FILL or t in _ABOUT_IT or t.endswith("ly") for t in rest)


def _inverted(turn: int, sentence: Sentence, mentions: list[Mention], b: Mention, side: Relation) -> Iterator[Claim]:
    """`To the left of the cat is a dog.`"""
    words = sentence.tokens
    a = next((m for m in mentions if m.first >= b.end), None)
    if a is None or is_negated(words, a):
        return
    between = [t for t in words[b.end : a.first] if is_word(t)]
    between = between[1:] if between[:1] == ["and"] else between
    if between and between[0] in _OPENS and all(t in _OPENS | _ARTICLES for t in between):
        yield Claim(turn, sentence, a, side, b)


def _topic(exchange: Exchange, lexicon: Lexicon) -> Mention | None:
    """What "it" is in the answer: the thing that the question asks the place of."""
    asked = exchange.asked or (exchange.question[-1] if exchange.question else None)
    if asked is None:
        return None
    mentions = lexicon.mentions(asked.tokens)
    if "where" in asked.tokens or "where's" in asked.tokens:
        at = next(k for k, t in enumerate(asked.tokens) if t in ("where", "where's"))
        mentions = [*(m for m in mentions if m.first > at), *(m for m in mentions if m.first < at)]
    which_side = "which" in asked.tokens[:3] or "what" in asked.tokens[:3]
    if which_side and len(mentions) == 2 and "side" in asked.tokens:
        return mentions[1] if asked.tokens[mentions[0].first - 2 : mentions[0].first] == ("of", "the") else mentions[0]
    return mentions[0] if mentions else None


def _answered(exchange: Exchange, lexicon: Lexicon) -> Iterator[Claim]:
    """Answers that complete their question: `Where is A relative to B?` `To the left.`; `What is left of B?` `A.`"""
    asked = exchange.asked or (exchange.question[-1] if exchange.question else None)
    if asked is None or not exchange.answer:
        return
    words, answer = asked.tokens, exchange.answer[0]
    asked_about = lexicon.mentions(words)
    told = lexicon.mentions(answer.tokens)
    sides = [s for k in range(len(answer.tokens)) if (s := side_of(answer.tokens, k))]
    turn = exchange.turn + 1
    place = any(t in _PLACE for t in words)
    if len(asked_about) == 2 and len(set(sides)) == 1 and place and not told:
        a = _topic(exchange, lexicon)
        b = asked_about[0] if a is asked_about[1] or a == asked_about[1] else asked_about[1]
        if a is not None and not (set(answer.tokens) & {"not", "its", "their"}) and not _picks(words):
            yield Claim(turn, answer, a, sides[0], b)
    yield from _picked(exchange, asked, lexicon, told)


def _picks(words: tuple[str, ...]) -> bool:
    return any(w in ("which", "what", "what's", "who's", "whats") and after != "side" for w, after in pairwise(words))


def _picked(exchange: Exchange, asked: Sentence, lexicon: Lexicon, told: list[Mention]) -> Iterator[Claim]:
    words = asked.tokens
    mentions = lexicon.mentions(words)
    sides = [k for k in range(len(words)) if side_of(words, k)]
    if len(sides) != 1 or not told or not _picks(words) or is_negated(exchange.answer[0].tokens, told[0]):
        return
    side, turn, answer = WORDS[words[sides[0]]], exchange.turn + 1, exchange.answer[0]
    if len(mentions) == 1:
        _, end = phrase_of(words, sides[0])
        if end is not None and _near(words, end, mentions[0].first) and len(told) == 1:
            yield Claim(turn, answer, told[0], side, mentions[0])
    elif len(mentions) == 2 and len(told) == 1:
        others = [m for m in mentions if m.labels != told[0].labels]
        if len(others) == 1:
            yield Claim(turn, answer, told[0], side, others[0])
