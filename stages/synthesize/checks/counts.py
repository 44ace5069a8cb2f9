"""Counts against boxes. More than there are is always wrong; fewer only where the words leave none out."""

from collections.abc import Iterator

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.statements import (
    Exchange,
    Statement,
    answer_number,
    asks_yes_no,
    exchanges,
    is_bounded,
    stated,
)
from stages.synthesize.checks.words import Sentence, is_word, number, shown
from stages.synthesize.checks.world import World, world_of
from stages.synthesize.context import Context, Draft

_LEADS = frozenset({
    "are", "is", "shows", "show", "contains", "contain", "has", "have", "features", "includes", "depicts", "see",
    "displays", "exactly", "only", "just", "count", "presents", "holds", "spot", "find", "showing", "containing",
    "with", "of", "there", "include", "depicting", "featuring", "'s", "there's", "notice", "precisely", "total",
})  # fmt: skip
_ALL = frozenset({
    "are", "there", "is", "can", "you", "see", "in", "the", "this", "image", "picture", "photo", "photograph", "scene",
    "visible", "shown", "appear", "appears", "present", "do", "does", "be", "seen", "total", "altogether", "it", "here",
    "of", "contain", "contains", "have", "has", "count", "frame", "exactly", "overall", "i", "we", "drawing", "visual",
    "illustration", "show", "shows", "whole", "entire", "feature", "depicted", "pictured", "displayed", "find", "a",
    "and", "also", "as", "well", "too", "composition", "please", "spot", "view", "if", "any", "at", "all", "notice",
    "did", "found", "everywhere", "anywhere", "what", "would", "get", "say", "exist",
})  # fmt: skip
_MORE = frozenset(
    {"another", "other", "others", "third", "fourth", "second", "rest", "remaining", "more", "additional"}
)


def wrong_count(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Needs boxes that are complete for a vocabulary."""
    world = world_of(context)
    if world is None:
        return []
    lexicon = lexicon_of(context.vocabulary)
    found = [*_told(draft, lexicon, world, config), *_asked(draft, lexicon, world, config)]
    return sorted(set(found), key=lambda f: (f.turn, f.evidence))


def _told(draft: Draft, lexicon: Lexicon, world: World, config: ChecksConfig) -> Iterator[Finding]:
    for statement in stated(draft, lexicon):
        mention, words = statement.mention, statement.sentence.tokens
        told = mention.count if mention.count is not None else _number_of(words, mention)
        if told is None or world.caption_counts(mention, told):
            continue
        if is_bounded(words, mention.first - 1):
            continue
        there = world.number(mention.labels)
        if not 0 < there < config.max_countable:
            continue
        if told > there or (told < there and _tells_all(draft, statement, lexicon)):
            yield _finding(statement.turn, told, there, statement.sentence)


def _number_of(words: tuple[str, ...], mention: Mention) -> int | None:
    """`The number of dogs is three`."""
    if words[max(0, mention.first - 3) : mention.noun].count("number") != 1:
        return None
    return next((n for t in words[mention.end : mention.end + 6] if (n := number(t)) is not None), None)


def _tells_all(draft: Draft, statement: Statement, lexicon: Lexicon) -> bool:
    """Whether `two dogs` here means that there are no more: told of the whole picture, of the whole kind, once."""
    mention, words = statement.mention, statement.sentence.tokens
    if not mention.covers or mention.modified or mention.definite:
        return False
    turn = statement.turn
    text = draft.turns[turn][1].lower()
    if any(word in text.split() for word in _MORE):
        return False
    same = [m for m in lexicon.mentions(words) if m.labels & mention.labels and m.count is not None]
    if len(same) > 1:
        return False
    return _leads(words, mention, lexicon) and not restricted(words, mention.end)


def _leads(words: tuple[str, ...], mention: Mention, lexicon: Lexicon) -> bool:
    """A verb of showing stands right before the number, or before the list that the phrase is part of."""
    at = mention.first - 1
    while at > 0 and (number(words[at]) is not None or words[at] in ("a", "pair", "single", "of", "total")):
        at -= 1
    if at <= 0:
        return at == 0 and number(words[0]) is not None
    if words[at] in _LEADS:
        return words[at] != "of" or number(words[at - 1]) is None
    joined = words[at] in ("and", ",", "plus", "also") or words[at : at + 1] == ("with",)
    earlier = [m for m in lexicon.mentions(words[:at]) if at - m.end <= 2]
    return joined and bool(earlier) and _leads(words, earlier[-1], lexicon)


def restricted(words: tuple[str, ...], end: int) -> bool:
    """Whether what follows the noun picks some of them: `two dogs on the couch`, but not `two dogs in the picture`."""
    rest = words[end:]
    for at, word in enumerate(rest):
        if not is_word(word) or (word in ("and", "plus", "with") and at == 0):
            return False
        if word in ("on", "against", "over", "set", "placed") and _backdrop(rest[at : at + 8]):
            return False
        if word not in _ALL:
            return True
    return False


def _backdrop(words: tuple[str, ...]) -> bool:
    return "background" in words or "backdrop" in words


def _asked(draft: Draft, lexicon: Lexicon, world: World, config: ChecksConfig) -> Iterator[Finding]:
    for exchange in exchanges(draft):
        asked = exchange.asked or (exchange.question[-1] if exchange.question else None)
        if asked is None:
            continue
        mention = _counted_noun(asked, lexicon)
        if mention is not None:
            yield from _how_many(exchange, asked, mention, world, config)
        elif asks_yes_no(asked) and exchange.yes is False:
            yield from _denied(exchange, asked, lexicon, world, config)


def _counted_noun(asked: Sentence, lexicon: Lexicon) -> Mention | None:
    words = asked.tokens
    for mention in lexicon.mentions(words):
        before = words[max(0, mention.noun - 6) : mention.noun]
        if any(t in before for t in ("many", "count", "counted", "number", "quantity")):
            return mention
    return None


def _how_many(
    exchange: Exchange, asked: Sentence, mention: Mention, world: World, config: ChecksConfig
) -> Iterator[Finding]:
    answer = answer_number(exchange)
    there = world.number(mention.labels)
    if answer is None or there >= config.max_countable or world.caption_counts(mention, answer[0]):
        return
    told = answer[0]
    whole = mention.covers and not mention.modified and not restricted(asked.tokens, mention.end)
    if (there or told == 0) and (told > there or (told < there and whole)):
        yield _finding(exchange.turn + 1, told, there, answer[1])


def _denied(
    exchange: Exchange, asked: Sentence, lexicon: Lexicon, world: World, config: ChecksConfig
) -> Iterator[Finding]:
    """`Is there a dog?` `No.` where a dog is boxed."""
    mentions = lexicon.mentions(asked.tokens)
    if len(mentions) != 1:
        return
    mention = mentions[0]
    plain = mention.covers and not mention.modified and not mention.definite and mention.count is None
    if not plain or restricted(asked.tokens, mention.end) or set(asked.tokens[: mention.first]) - _ALL:
        return
    there = world.number(mention.labels)
    if there:
        yield _finding(exchange.turn + 1, 0, there, exchange.answer[0])


def _finding(turn: int, told: int, there: int, sentence: Sentence) -> Finding:
    return Finding(Check.wrong_count, turn, f"says {told}, boxes show {there}: {shown(sentence.text)}")
