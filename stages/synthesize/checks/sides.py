"""Left, right, above, below against the boxes: between two things of which there is one each, and in the picture.

Judged by stages.synthesize.relations.contradicts. "On top of", "over", "under" and "on its left" are not judged: they
may mean touching, or the thing's own left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schemas.conversation import Check
from schemas.sample import Box
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.statements import Exchange, asks_yes_no, exchanges, is_negated
from stages.synthesize.checks.words import Sentence, is_word, shown
from stages.synthesize.checks.world import world_of
from stages.synthesize.context import Context, Draft
from stages.synthesize.relations import Relation, contradicts, relation

_LEFT, _RIGHT, _ABOVE, _BELOW = Relation.left_of, Relation.right_of, Relation.above, Relation.below
_WORDS: dict[str, Relation] = {
    "left": _LEFT, "leftward": _LEFT, "leftwards": _LEFT, "left-hand": _LEFT, "leftmost": _LEFT,
    "right": _RIGHT, "rightward": _RIGHT, "rightwards": _RIGHT, "right-hand": _RIGHT, "rightmost": _RIGHT,
    "above": _ABOVE, "higher": _ABOVE, "upper": _ABOVE, "top": _ABOVE,
    "below": _BELOW, "beneath": _BELOW, "lower": _BELOW, "underneath": _BELOW, "bottom": _BELOW,
}  # fmt: skip
_BARE = frozenset({"above", "below", "beneath", "underneath"})
_PICTURE = frozenset({"image", "picture", "photo", "photograph", "frame", "scene", "drawing", "canvas", "composition"})
_FILL = frozenset({
    "is", "are", "was", "sits", "stands", "lies", "appears", "located", "positioned", "placed", "that", "which", "to",
    "on", "at", "the", "directly", "just", "immediately", "slightly", "further", "farther", "and", "can", "be", "seen",
    "found", "situated", "well", "far", "a", "bit", "little", "clearly", "standing", "sitting", "lying", "somewhere",
    "floating", "hangs", "resting", "rests", "set", "off", "in", "image", "picture", "indeed", "down", "up", "both",
    "then", "here", "drawn", "hanging", "visible", "there", "more", "being", "quite", "shown", "floats", "way", "over",
})  # fmt: skip
_PLACE = frozenset({"where", "side", "positioned", "located", "position", "direction", "relation", "or"})
_ABOUT_IT = frozenset(
    {
        "it",
        "it's",
        "they",
        "they're",
        "yes",
        "he",
        "she",
        "he's",
        "she's",
        "you",
        "would",
        "will",
        "find",
        "see",
        "look",
    }
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


def wrong_relation(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Claims that the boxes contradict."""
    world = world_of(context)
    if world is None:
        return []
    found: list[Finding] = []
    for claim in _claims(draft, lexicon_of(context.vocabulary)):
        a = world.only(claim.a.labels)
        b = world.only(claim.b.labels) if claim.b else None
        if a is None or (claim.b and b is None) or a is b or claim.a.modified or (claim.b and claim.b.modified):
            continue
        wrong = _beside(claim, a, b, context) if b else _placed_wrong(claim, a, context, config)
        if wrong:
            said = "not " if claim.denied else ""
            found.append(Finding(Check.wrong_relation, claim.turn, f"{said}{claim.side}: {shown(claim.sentence.text)}"))
    return list(dict.fromkeys(found))


def _beside(claim: Claim, a: Box, b: Box, context: Context) -> bool:
    if claim.denied:
        return claim.side in relation(a, b, context.width, context.height)
    return contradicts(claim.side, a, b, context.width, context.height)


def _placed_wrong(claim: Claim, a: Box, context: Context, config: ChecksConfig) -> bool:
    """Wholly in the other half of the picture."""
    if claim.denied:
        return False
    middle_x, middle_y = context.width / 2, context.height / 2
    return {
        _LEFT: a.x >= middle_x + config.side_margin * context.width,
        _RIGHT: a.x + a.w <= middle_x - config.side_margin * context.width,
        _ABOVE: a.y >= middle_y + config.side_margin * context.height,
        _BELOW: a.y + a.h <= middle_y - config.side_margin * context.height,
    }[claim.side]


def _claims(draft: Draft, lexicon: Lexicon) -> Iterator[Claim]:
    for exchange in exchanges(draft):
        turn = exchange.turn + 1
        topic = _topic(exchange, lexicon)
        for sentence in exchange.answer:
            if not sentence.asks:
                yield from _told(turn, sentence, lexicon, topic)
        asked = exchange.asked
        if asked and exchange.yes is not None and asks_yes_no(asked) and "or" not in asked.tokens:
            for claim in _told(turn, asked, lexicon, None):
                yield Claim(turn, asked, claim.a, claim.side, claim.b, denied=not exchange.yes)
        yield from _answered(exchange, lexicon)


def _told(turn: int, sentence: Sentence, lexicon: Lexicon, topic: Mention | None) -> Iterator[Claim]:
    words = sentence.tokens
    mentions = lexicon.mentions(words)
    for at, word in enumerate(words):
        side = _WORDS.get(word)
        if side is None or any(m.first <= at < m.end for m in mentions):
            continue
        start, end = _phrase(words, at)
        if end is None:
            continue
        before = next((m for m in reversed(mentions) if m.end <= start), None)
        after = next((m for m in mentions if m.first >= end), None)
        if after is not None and not _near(words, end, after.first):
            after = None
        if after is None:
            placed = _of_picture(words, end) and before is not None and _joined(words, before.end, start)
            if placed and before is not None and not is_negated(words, before):
                yield Claim(turn, sentence, before, side, None)
            continue
        if is_negated(words, after):
            continue
        if before is not None and _joined(words, before.end, start):
            yield Claim(turn, sentence, before, side, after)
        elif before is None and start <= 4:
            yield from _inverted(turn, sentence, mentions, after, side)
            if topic is not None and _pronoun(words[:start]):
                yield Claim(turn, sentence, topic, side, after)


def _phrase(words: tuple[str, ...], at: int) -> tuple[int, int | None]:
    """The extent of "on the left side of", "higher up than", "above"; end None where it relates to nothing."""
    start = at
    while start > 0 and words[start - 1] in ("the", "to", "on", "at", "in", "towards", "toward", "from"):
        start -= 1
    end = at + 1
    while end < len(words) and words[end] in ("side", "hand", "up", "down", "corner", "half", "part", "edge"):
        end += 1
    if words[at] in _BARE:
        return start, end
    if end < len(words) and words[end] in ("of", "than", "from"):
        return start, end + 1
    return start, None


def _near(words: tuple[str, ...], start: int, end: int) -> bool:
    articles = ("the", "a", "an", "that", "this", "one", "single", "lone", "only", "where")
    return all(t in articles for t in words[start:end])


def _joined(words: tuple[str, ...], start: int, end: int) -> bool:
    """Only words of placing between the thing and its side."""
    between = words[start:end]
    return len(between) <= _REACH and all(t in _FILL or t == "," for t in between)


def _of_picture(words: tuple[str, ...], end: int) -> bool:
    return any(t in _PICTURE for t in words[end : end + 3])


def _pronoun(words: tuple[str, ...]) -> bool:
    rest = [t for t in words if is_word(t)]
    return all(t in _FILL or t in _ABOUT_IT for t in rest)


def _inverted(turn: int, sentence: Sentence, mentions: list[Mention], b: Mention, side: Relation) -> Iterator[Claim]:
    """`To the left of the cat is a dog.`"""
    words = sentence.tokens
    a = next((m for m in mentions if m.first >= b.end), None)
    if a is None or is_negated(words, a):
        return
    between = [t for t in words[b.end : a.first] if is_word(t)]
    opens = {"is", "are", "sits", "there", "there's", "we", "you", "i", "stands", "lies", "appears", "can"}
    extra = {"a", "an", "the", "one", "see", "single", "find", "be", "seen", "have", "notice", "rests"}
    if between and between[0] in opens and all(t in opens | extra for t in between):
        yield Claim(turn, sentence, a, side, b)


def _topic(exchange: Exchange, lexicon: Lexicon) -> Mention | None:
    """What "it" is in the answer: the thing that the question asks the place of."""
    asked = exchange.asked or (exchange.question[-1] if exchange.question else None)
    if asked is None:
        return None
    mentions = lexicon.mentions(asked.tokens)
    side_of = "which" in asked.tokens[:3] or "what" in asked.tokens[:3]
    if side_of and len(mentions) == 2 and "side" in asked.tokens:
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
    sides = [_WORDS[t] for t in answer.tokens if t in _WORDS]
    turn = exchange.turn + 1
    place = any(t in _PLACE for t in words)
    if len(asked_about) == 2 and len(set(sides)) == 1 and place and not told:
        a = _topic(exchange, lexicon)
        b = asked_about[0] if a is asked_about[1] or a == asked_about[1] else asked_about[1]
        if a is not None and not (set(answer.tokens) & {"not", "its", "their"}) and not _picks(words):
            yield Claim(turn, answer, a, sides[0], b)
    yield from _picked(exchange, asked, lexicon, told)


def _picks(words: tuple[str, ...]) -> bool:
    return any(w in ("which", "what") and after != "side" for w, after in pairwise(words))


def _picked(exchange: Exchange, asked: Sentence, lexicon: Lexicon, told: list[Mention]) -> Iterator[Claim]:
    words = asked.tokens
    mentions = lexicon.mentions(words)
    sides = [k for k, t in enumerate(words) if t in _WORDS]
    if len(sides) != 1 or not told or not _picks(words) or is_negated(exchange.answer[0].tokens, told[0]):
        return
    side, turn, answer = _WORDS[words[sides[0]]], exchange.turn + 1, exchange.answer[0]
    if len(mentions) == 1:
        _, end = _phrase(words, sides[0])
        if end is not None and _near(words, end, mentions[0].first) and len(told) == 1:
            yield Claim(turn, answer, told[0], side, mentions[0])
    elif len(mentions) == 2 and len(told) == 1:
        others = [m for m in mentions if m.labels != told[0].labels]
        if len(others) == 1:
            yield Claim(turn, answer, told[0], side, others[0])
