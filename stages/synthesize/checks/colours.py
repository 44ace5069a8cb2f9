"""Colours against boxes whose labels carry one. A colour word stands for the noun that it modifies, for the noun before
it in the sentence ("the circle is a bright red"), or for what the exchange is about ("It's red")."""

from collections.abc import Iterator

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks import closed, coco
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.statements import Exchange, affirmed, exchanges, stated
from stages.synthesize.checks.words import Sentence, is_word, shown
from stages.synthesize.checks.world import World, world_of
from stages.synthesize.context import Context, Draft

_CLOSING = frozenset({
    "and", "while", "but", "with", "in", "on", "against", "too", "to", "one", "ones", "as", "overall", "colour",
    "color", "tone", "tones", "tint", "shade", "hue", "paint", "coloring", "colouring", "which", "that", "is", "was",
    "of", "here", "indeed", "stands", "makes", "make", "suits", "because", "since", "for", "it", "throughout", "all",
    "object", "thing", "item", "element", "figure", "fill", "filling", "ink", "has", "gives", "so", "like", "though",
    "from", "than", "at", "by", "would", "used", "comes", "goes", "catches", "just", "rather", "you",
})  # fmt: skip
_ELSEWHERE = frozenset({
    "background", "backdrop", "ground", "rest", "surroundings", "others", "everything", "canvas", "surface", "letters",
    "text", "sign", "sky", "frame", "border", "unlike", "instead", "other", "than", "contrast",
    "contrasts", "no", "not", "isn't", "neither", "nor", "never", "without", "wasn't", "or", "would've", "if",
})  # fmt: skip
_BETWEEN = frozenset({
    ",", ";", ":", "-", "–", "—", "in", "which", "is", "was", "used", "for", "on", "of", "the", "paint", "has", "been",
    "a", "colour", "color", "this",
    "that", "gives", "belongs", "to", "they", "stands", "chosen", "fills", "shade", "tone", "suits", "makes", "goes",
    "with", "what", "one", "can", "say", "describes", "fits", "covers", "hue", "tint", "are", "were", "it",
})  # fmt: skip
_AGAIN = frozenset({"it", "it's", "its", "they", "they're", "he", "she", "that's", "this", "whose", "one"})
_MARKS = frozenset({",", ";", ":", "—", "–", "-", "(", "but", "and", "because", "as", "since"})
_REACH = 14


def wrong_colour(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """A colour that no box of that noun has. Only where the vocabulary's labels carry colours."""
    world = world_of(context)
    if world is None:
        return []
    lexicon = lexicon_of(context.vocabulary)
    if not lexicon.coloured:
        return []
    found: list[Finding] = []
    for statement in stated(draft, lexicon):
        mention = statement.mention
        if mention.colour and not world.supports(mention.labels) and world.supports(mention.base):
            found.append(_finding(statement.turn, mention.colour, mention, world, statement.sentence))
    for exchange in exchanges(draft):
        found += _loose(exchange, lexicon, world)
        found += _denied(exchange, lexicon, world)
        found += _picked(exchange, lexicon, world)
    return list(dict.fromkeys(found))


def _loose(exchange: Exchange, lexicon: Lexicon, world: World) -> Iterator[Finding]:
    """Colours that stand apart from their noun, in the answer or in a question answered with yes."""
    turn = exchange.turn + 1
    topic = _only([m for s in exchange.question for m in lexicon.mentions(_unowned(s.tokens))])
    told = [s for s in exchange.answer if not s.asks]
    put = exchange.put
    if put is not None and exchange.yes and "or" not in put.tokens:
        told.insert(0, put)
    for sentence in told:
        words = _unowned(sentence.tokens)
        mentions = lexicon.mentions(words)
        claimed: dict[frozenset[str], list[tuple[str, Mention]]] = {}
        for at, word in enumerate(words):
            if word in coco.COLOURS and _free(words, at, mentions):
                mention = _meant(words, at, mentions, topic)
                if mention is not None and world.number(mention.base):
                    claimed.setdefault(mention.base, []).append((coco.COLOURS[word], mention))
        for colours in claimed.values():
            if not any(_has(world, mention, colour) for colour, mention in colours):
                yield _finding(turn, colours[0][0], colours[0][1], world, sentence)
        topic = _only(mentions) or topic


def _free(words: tuple[str, ...], at: int, mentions: list[Mention]) -> bool:
    """Whether the colour at `at` modifies no noun: its own mention's, or any other word's."""
    if any(m.first <= at < m.end for m in mentions):
        return False
    after = words[at + 1] if at + 1 < len(words) else ""
    return (
        not is_word(after)
        or after in _CLOSING
        or after in closed.FUNCTION
        or after in coco.COLOURS
        or after.endswith("ly")
    )


def _meant(words: tuple[str, ...], at: int, mentions: list[Mention], topic: Mention | None) -> Mention | None:
    before = next((m for m in reversed(mentions) if m.end <= at), None)
    if before is not None:
        gap = _clause(words[before.end : at])
        plain = before.colour is None and affirmed(words, before)
        return before if plain and at - before.end <= _REACH and not _ELSEWHERE & set(gap) else None
    after = next((m for m in mentions if m.first > at), None)
    if after is not None and all(t in _BETWEEN for t in words[at + 1 : after.first]):
        return after if after.colour is None else None
    if after is not None or _ELSEWHERE & set(_clause(words[:at])):
        return None
    return topic


def _clause(words: tuple[str, ...]) -> tuple[str, ...]:
    """From where a pronoun takes up the thing again: "no need to guess, it's plainly …"."""
    for at in range(len(words) - 1, 0, -1):
        if words[at] in _AGAIN and words[at - 1] in _MARKS:
            return words[at:]
    return words


def _picked(exchange: Exchange, lexicon: Lexicon, world: World) -> Iterator[Finding]:
    """`Which shape is red?` `The circle.`"""
    asked = exchange.asked
    if asked is None or not exchange.answer or asked.tokens[0] not in ("which", "what"):
        return
    told = [coco.COLOURS[t] for k, t in enumerate(asked.tokens) if t in coco.COLOURS and _free(asked.tokens, k, [])]
    words = exchange.answer[0].tokens
    mention = _only(lexicon.mentions(words))
    named = [m for m in lexicon.mentions(asked.tokens) if m.base != lexicon.everything]
    if len(told) != 1 or named or mention is None or mention.colour is not None or not affirmed(words, mention):
        return
    if world.number(mention.base) and not _has(world, mention, told[0]):
        yield _finding(exchange.turn + 1, told[0], mention, world, exchange.answer[0])


def _denied(exchange: Exchange, lexicon: Lexicon, world: World) -> Iterator[Finding]:
    """`Is the circle red?` `No.` where all circles are red."""
    put = exchange.put
    if put is None or exchange.yes is not False or any(t in coco.COLOURS for s in exchange.answer for t in s.tokens):
        return
    mention = _only(lexicon.mentions(put.tokens))
    told = [coco.COLOURS[t] for t in put.tokens if t in coco.COLOURS]
    if mention is None or mention.colour is not None or not mention.definite or len(told) != 1:
        return
    there = [label for label in mention.base if world.number(frozenset({label}))]
    if there and all(label.partition(" ")[0] == told[0] for label in there):
        yield _finding(exchange.turn + 1, f"not {told[0]}", mention, world, exchange.answer[0])


def _unowned(words: tuple[str, ...]) -> tuple[str, ...]:
    """`the ring's colour` is about the ring."""
    return tuple(t for word in words for t in ([word[:-2], "has"] if word.endswith("'s") and len(word) > 5 else [word]))


def _only(mentions: list[Mention]) -> Mention | None:
    """The one noun that is spoken of."""
    return mentions[-1] if len({m.base for m in mentions}) == 1 else None


def _has(world: World, mention: Mention, colour: str) -> bool:
    labels = frozenset(label for label in mention.base if label.partition(" ")[0] == colour)
    return world.supports(labels)


def _finding(turn: int, colour: str, mention: Mention, world: World, sentence: Sentence) -> Finding:
    there = ", ".join(sorted(label for label in mention.base if world.number(frozenset({label}))))
    return Finding(Check.wrong_colour, turn, f"says {colour}, boxes show {there}: {shown(sentence.text)}")
