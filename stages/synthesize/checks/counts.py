"""Counts against boxes. More than there are is always wrong; fewer only where the words leave none out."""

from collections.abc import Iterator

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.closed import SEEING
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.statements import (
    Exchange,
    Statement,
    answer_number,
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
    "with", "of", "there", "include", "depicting", "featuring", "'s", "there's", "notice", "precisely", "total", "at",
    "it's", "that's", "comprises", "comprising", "observe", "counted", "found", "spotted", "seeing", "identify", "make",
    "got", "we've", "you've", "i've", "consists", "including", "shown", "pictured", "depicted", "totally", "actually",
    "detect", "captures", "captured", "get", "say", "they're", "i'm", ":", "present", "presenting", "offers", "by",
})  # fmt: skip
_ALL = frozenset({
    "are", "there", "is", "can", "you", "see", "in", "the", "this", "image", "picture", "photo", "photograph", "scene",
    "visible", "shown", "appear", "appears", "present", "do", "does", "be", "seen", "total", "altogether", "it", "here",
    "of", "contain", "contains", "have", "has", "count", "frame", "exactly", "overall", "i", "we", "drawing", "visual",
    "illustration", "show", "shows", "whole", "entire", "feature", "depicted", "pictured", "displayed", "find", "a",
    "and", "also", "as", "well", "too", "composition", "please", "spot", "view", "if", "any", "at", "all", "notice",
    "did", "found", "everywhere", "anywhere", "what", "would", "get", "say", "exist", "for", "me", "us",
    "currently", "clearly",
    "shot", "background", "were", "was", "make", "up", "captured", "identified", "spotted", "to", "counted",
    "together", "depicts", "now", "today", "along", "plus", "none", "hidden", "which", "each", "them",
    "portrayed", "main", "part", "somewhere", "perhaps", "maybe", "anyhow", "happen", "photographer",
    "capture", "captures", "think", "form",
})  # fmt: skip
_PICTURES = ("picture", "image", "photo", "photograph", "view", "shot", "scene", "drawing", "snapshot")
_COUNTING = ("many", "count", "counted", "number", "quantity", "tally", "total", "counting", "numerous")
_BARE_LEADS = frozenset({
    "are", "is", "it's", "there's", "that's", "they're", "were", "exactly", "only", "just", "count", "counted", "find",
    "it", "see", "comes", "to", "say", "be", "precisely", "you'll", "total", "of", "about", "make", "i'd", "found",
    "finds", "sees", "spots", "counts", "notices", "spot", "notice",
})  # fmt: skip
_BARE_ENDS = frozenset({
    ("of", "them"), ("of", "those"), ("of", "these"), ("in", "number"), ("in", "total"), ("in", "all"), ("in", "the"),
    ("in", "view"), ("in", "this"), ("to", "be"), ("that", "can"), ("which", "can"),
})  # fmt: skip
_ALL_TOLD = frozenset({("altogether", "."), ("altogether", ","), ("all", "told"), ("overall", "."), ("in", "all")})
_GROUPS = frozenset({"group", "set", "row", "bunch", "cluster", "line", "total", "trio", "pair"})
_MORE = frozenset(
    {"another", "other", "others", "third", "fourth", "second", "rest", "remaining", "more", "additional"}
)


_ASKED_BY = frozenset({"do", "does", "did", "can", "could", "would", "will", "might", "has", "have"})
_WHERE = frozenset({
    "on", "near", "behind", "under", "beside", "above", "below", "next", "with", "wearing", "sitting", "standing",
    "holding", "from", "left", "right", "front", "between", "inside", "outside", "over", "beneath", "around", "riding",
})  # fmt: skip


def wrong_count(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Needs boxes that are complete for a vocabulary."""
    world = world_of(context)
    if world is None:
        return []
    lexicon = lexicon_of(context.vocabulary)
    found = [
        *_told(draft, lexicon, world, config),
        *_asked(draft, lexicon, world, config),
        *_of_them(draft, lexicon, world, config),
    ]
    return sorted(set(found), key=lambda f: (f.turn, f.evidence))


def _told(draft: Draft, lexicon: Lexicon, world: World, config: ChecksConfig) -> Iterator[Finding]:
    for statement in stated(draft, lexicon):
        mention, words = statement.mention, statement.sentence.tokens
        told = mention.count if mention.count is not None else _number_of(words, mention)
        if told is None or world.caption_counts(mention, told) or _heaps(mention, config):
            continue
        if is_bounded(words, mention.first - 1):
            continue
        there = world.number(mention.labels)
        if not 0 < there < config.max_countable:
            continue
        all_of_them = mention.count is None and words[mention.end : mention.end + 1] == ("number",) and mention.covers
        if told > there or (told < there and (all_of_them or _tells_all(draft, statement, lexicon))):
            yield _finding(statement.turn, told, there, statement.sentence)


def _heaps(mention: Mention, config: ChecksConfig) -> bool:
    return any(label.lower() in config.uncounted for label in mention.labels)


def _number_of(words: tuple[str, ...], mention: Mention) -> int | None:
    """`The number of dogs is three`, `the dogs number three`, `dogs, three in all`."""
    after = words[mention.end : mention.end + 4]
    if mention.plural and len(after) > 1 and after[0] == "number":
        return number(after[1])
    if mention.plural and len(after) > 1 and after[0] == "," and not is_word((*after, ".")[2]):
        return number(after[1])
    if mention.plural and len(after) > 2 and after[0] == "," and (*after, ".")[2:4] in _BARE_ENDS | _ALL_TOLD:
        return number(after[1])
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
    while at > 0 and (number(words[at]) is not None or words[at] in ("a", "single", "of", "*", *_GROUPS)):
        at -= 1
    if at <= 0:
        return at == 0 and (number(words[0]) is not None or bool(_GROUPS & set(words[: mention.first])))
    if words[at] == "like" and words[at - 1] in ("looks", "look", "seems"):
        return True
    if words[at] in _LEADS:
        return words[at] != "of" or number(words[at - 1]) is None
    if words[at] in (*_PICTURES, "up", "composed", "consisting", "consists", "comprised") and words[
        at + 1 : at + 2
    ] == ("of",):
        return True
    joined = words[at] in ("and", ",", "plus", "also") or words[at : at + 1] == ("with",)
    earlier = [m for m in lexicon.mentions(words[:at]) if at - m.end <= 2]
    return joined and bool(earlier) and _leads(words, earlier[-1], lexicon)


def restricted(words: tuple[str, ...], end: int) -> bool:
    """Whether what follows the noun picks some of them: `two dogs on the couch`, but not `two dogs in the picture`."""
    rest = words[end:]
    if _beheld(rest):
        return False
    for at, word in enumerate(rest):
        if not is_word(word) or (word in ("and", "plus", "with") and at == 0):
            return False
        if word in ("on", "against", "over", "set", "placed") and _backdrop(rest[at : at + 8]):
            return False
        if word not in _ALL:
            return True
    return False


def _beheld(rest: tuple[str, ...]) -> bool:
    """`… does the eye find?`: whoever looks sees all of them."""
    clause = rest[: next((k for k, t in enumerate(rest) if not is_word(t)), len(rest))]
    return clause[:1] != () and clause[0] in _ASKED_BY and bool(SEEING & set(clause)) and not _WHERE & set(clause)


def _backdrop(words: tuple[str, ...]) -> bool:
    return "background" in words or "backdrop" in words


def _asked(draft: Draft, lexicon: Lexicon, world: World, config: ChecksConfig) -> Iterator[Finding]:
    for exchange in exchanges(draft):
        asked = exchange.asked or (exchange.question[-1] if exchange.question else None)
        mention = counted_noun(asked, lexicon) if asked else None
        if asked is not None and mention is not None and not _heaps(mention, config):
            yield from _how_many(exchange, asked, mention, world, config)


def _of_them(draft: Draft, lexicon: Lexicon, world: World, config: ChecksConfig) -> Iterator[Finding]:
    """A number without a noun, of the one thing that the question or the sentence names: `There are three of them.`"""
    for exchange in exchanges(draft):
        asked = [m for s in exchange.question for m in lexicon.mentions(s.tokens)]
        for sentence in exchange.answer:
            own = lexicon.mentions(sentence.tokens)
            named = asked or own
            if len({m.labels for m in named}) != 1 or not all(_several(m) for m in (*named, *own)):
                continue
            told = _bare_number(sentence.tokens) if {m.labels for m in own} <= {named[0].labels} else None
            there = world.number(named[0].labels)
            if told is None or not 0 < there < config.max_countable or world.caption_counts(named[0], told):
                continue
            if _heaps(named[0], config) or any(m.count is not None for m in own):
                continue
            if told > there or (told < there and named[0].covers and not _MORE & set(sentence.tokens)):
                yield _finding(exchange.turn + 1, told, there, sentence)


def _several(mention: Mention) -> bool:
    return mention.plural and not mention.modified


def _bare_number(words: tuple[str, ...]) -> int | None:
    """The number in "there are three", "they are three in number", "I make it three"."""
    for at, word in enumerate(words):
        told = number(word)
        if told is None or told < 2 or is_bounded(words, at) or at == 0 or words[at - 1] not in _BARE_LEADS:
            continue
        after = words[at + 1 : at + 3]
        if not after or not is_word(after[0]) or after in _BARE_ENDS or after[0] in ("altogether", "present", "here"):
            return told
    return None


def counted_noun(asked: Sentence, lexicon: Lexicon) -> Mention | None:
    """What a question wants the number of."""
    words = asked.tokens
    for mention in lexicon.mentions(words):
        before = words[max(0, mention.noun - 6) : mention.noun]
        if any(t in before for t in _COUNTING):
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
    if told and there and (told > there or (told < there and whole)):
        yield _finding(exchange.turn + 1, told, there, answer[1])


def _finding(turn: int, told: int, there: int, sentence: Sentence) -> Finding:
    return Finding(Check.wrong_count, turn, f"says {told}, boxes show {there}: {shown(sentence.text)}")
