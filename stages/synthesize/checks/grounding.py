"""Objects and colours against boxes, captions and text lines. What these cannot decide is let pass."""

from collections.abc import Iterator

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks import coco
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.statements import Exchange, affirmed, asks_yes_no, exchanges, stated
from stages.synthesize.checks.words import Sentence, is_word, shown
from stages.synthesize.checks.world import World, world_of
from stages.synthesize.context import Context, Draft

_ASKS = frozenset({"colour", "color", "hue", "shade", "look", "describe", "appearance"})
_CLOSING = frozenset(
    {"and", "while", "but", "with", "in", "on", "against", "too", "to", "one", "ones", "as", "overall"}
)
_BE = frozenset({
    "here", "the", "one", "seems", "to", "be", "strong", "very", "quite",
    "is", "are", "appears", "appear", "looks", "look", "both", "all", "bright", "dark", "light", "deep", "vivid", "a",
    "an", "in", "coloured", "colored", "colour", "color", "painted", "which", "that", "also", "entirely", "solid",
    "shade", "of", "has", "have", "pale", "being", "filled", "drawn", "its", "clearly", ",",
})  # fmt: skip


def absent_object(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Something of the vocabulary that nothing supports."""
    world = world_of(context)
    if world is None:
        return []
    found: list[Finding] = []
    for statement in stated(draft, lexicon_of(context.vocabulary)):
        mention = statement.mention
        if not world.supports(mention.labels) and not world.supports(mention.base):
            named = " or ".join(sorted(mention.base)[:2] if mention.colour is None else sorted(mention.labels))
            found.append(Finding(Check.absent_object, statement.turn, f"{named}: {shown(statement.sentence.text)}"))
    return list(dict.fromkeys(found))


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
        found += _predicates(exchange, lexicon, world)
        found += _asked(exchange, lexicon, world)
    return list(dict.fromkeys(found))


def _predicates(exchange: Exchange, lexicon: Lexicon, world: World) -> Iterator[Finding]:
    """`The circle is red`; the same as a question that is answered with yes."""
    told = [(exchange.turn + 1, s) for s in exchange.answer if not s.asks]
    if exchange.yes and exchange.asked and asks_yes_no(exchange.asked) and "or" not in exchange.asked.tokens:
        told.append((exchange.turn + 1, exchange.asked))
    for turn, sentence in told:
        for mention in lexicon.mentions(sentence.tokens):
            if mention.colour is None and affirmed(sentence.tokens, mention) and world.number(mention.base):
                colour = _colour_after(sentence.tokens, mention.end, lexicon)
                if colour and not _has(world, mention, colour):
                    yield _finding(turn, colour, mention, world, sentence)


def _colour_after(words: tuple[str, ...], end: int, lexicon: Lexicon) -> str | None:
    for at in range(end, min(end + 6, len(words))):
        word = words[at]
        if word in coco.COLOURS:
            heads_noun = any(m.noun - 1 <= at + 1 <= m.noun for m in lexicon.mentions(words) if m.noun > at)
            return coco.COLOURS[word] if _closes(words, at + 1) and not heads_noun else None
        if word not in _BE or (word == "," and at != end):
            return None
    return None


def _closes(words: tuple[str, ...], at: int) -> bool:
    """Whether a colour before `at` stands alone, not before a noun."""
    after = words[at] if at < len(words) else ""
    return not is_word(after) or after in _CLOSING


def _asked(exchange: Exchange, lexicon: Lexicon, world: World) -> Iterator[Finding]:
    """`What colour is the circle?` `It is red.`; `How does it look?` `Simple, red and clear.`"""
    asked = next((s for s in reversed(exchange.question) if _ASKS & set(s.tokens)), None)
    if asked is None or not exchange.answer or asks_yes_no(asked):
        return
    nouns = [m for m in lexicon.mentions(asked.tokens) if m.colour is None and world.number(m.base)]
    others = [m for m in lexicon.mentions(asked.tokens) if m.colour is not None]
    answer = exchange.answer[0]
    if len(nouns) != 1 or others:
        return
    words = answer.tokens
    if {"colour", "color"} & set(asked.tokens):
        told = {coco.COLOURS[t] for t in words if t in coco.COLOURS}
    else:
        told = {coco.COLOURS[t] for k, t in enumerate(words) if t in coco.COLOURS and _closes(words, k + 1)}
    about_others = [m for m in lexicon.mentions(answer.tokens) if m.base != nouns[0].base]
    if told and not about_others and "not" not in answer.tokens:
        wrong = [c for c in sorted(told) if not _has(world, nouns[0], c)]
        if len(wrong) == len(told):
            yield _finding(exchange.turn + 1, wrong[0], nouns[0], world, answer)


def _has(world: World, mention: Mention, colour: str) -> bool:
    labels = frozenset(label for label in mention.base if label.partition(" ")[0] == colour)
    return world.supports(labels)


def _finding(turn: int, colour: str, mention: Mention, world: World, sentence: Sentence) -> Finding:
    there = ", ".join(sorted(label for label in mention.base if world.number(frozenset({label}))))
    return Finding(Check.wrong_colour, turn, f"says {colour}, boxes show {there}: {shown(sentence.text)}")
