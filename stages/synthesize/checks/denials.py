"""That something is not there, against a box that shows it: said, or a "no" to "Is there an X?".

Only for the label's own name, never for a synonym; only for what a box shows large enough; not where the words may mean
some of it ("no dog on the couch", "no other dog").
"""

from collections.abc import Iterator

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.counts import counted_noun, restricted
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.negations import denied_after, denied_before, of_no_use, takes_back
from stages.synthesize.checks.statements import Exchange, affirmed, answer_number, exchanges
from stages.synthesize.checks.words import Sentence, is_word, shown
from stages.synthesize.checks.world import world_of
from stages.synthesize.context import Context, Draft

_EXISTENCE = frozenset({
    "is", "are", "there", "there's", "can", "could", "do", "does", "did", "you", "we", "i", "one", "see",
    "spot", "find", "notice",
    "in", "the", "this", "that", "image", "picture", "photo", "photograph", "scene", "frame", "view", "show", "shows",
    "contain", "feature", "include", "have", "has", "depict", "any", "a", "an", "visible", "it", "true", "correct",
    "right", "confirm", "am", "perhaps", "maybe", "possibly", "by", "chance", "would", "say", "be", "present", "shown",
    "please", "tell", "me", "whether", "if", "so", "and", "also", "well", "hey", "here", "anywhere", "somewhere",
    "spotted", "seen", "found", "noticed", "trace", "sign", "of", "at", "all", "single", "drawing", "illustration",
    "think", "will", "make", "out", "detect", "actually", "really", "even", "composition", "something", "anything",
    "like", "kind", "sort", "appears", "occur", "observe", "locate",
    "identify", "displayed", "depicted", "pictured", "featured", "included", "captured", "within", "inside", "around",
    "our", "its", "presence", "who", "someone", "somebody", "told", "said", "says", "claims",
    "heard", "thought", "agree", "believe", "containing", "look", "looks", "seem", "seems", "pic", "shot", ",", "some",
})  # fmt: skip
_OTHERS = frozenset(
    {"other", "others", "more", "another", "additional", "else", "further", "second", "third", "longer"}
)


def denied_object(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """Needs boxes that are complete for a vocabulary."""
    world = world_of(context)
    if world is None:
        return []
    lexicon = lexicon_of(context.vocabulary)
    least = config.smallest_denied * context.width * context.height
    found: list[Finding] = []
    for exchange in exchanges(draft):
        named = {m.labels for s in exchange.answer for m in lexicon.mentions(s.tokens) if affirmed(s.tokens, m)}
        for mention, words, sentence in (*_said(exchange, lexicon), *_answered(exchange, lexicon)):
            large = any(box.w * box.h >= least for label in mention.labels for box in world.boxes.get(label, ()))
            if large and mention.labels not in named and _names(mention, words, lexicon):
                labels = " or ".join(sorted(label for label in mention.labels if world.number(frozenset({label}))))
                evidence = f"says there is none, a box shows {labels}: {shown(sentence.text)}"
                found.append(Finding(Check.denied_object, exchange.turn + 1, evidence))
    return list(dict.fromkeys(found))


Denial = tuple[Mention, tuple[str, ...], Sentence]
"""What is denied, the words in which it is named, the sentence that denies it."""


def _names(mention: Mention, words: tuple[str, ...], lexicon: Lexicon) -> bool:
    """Whether it is called by its label's own name, and all of it is meant."""
    plain = mention.covers and not mention.modified and (mention.count is None or mention.count <= 1)
    return plain and lexicon.is_own_name(words[mention.noun : mention.end])


def _said(exchange: Exchange, lexicon: Lexicon) -> Iterator[Denial]:
    for sentence in exchange.answer:
        words = sentence.tokens
        for mention in lexicon.mentions(words):
            near = {*words[max(0, mention.first - 2) : mention.noun], *words[mention.end : mention.end + 3]}
            if sentence.asks or _OTHERS & near:
                continue
            picks = restricted(words, mention.end) and not of_no_use(words, mention)
            if denied_after(words, mention) or (denied_before(words, mention) and not picks):
                yield mention, words, sentence


def _answered(exchange: Exchange, lexicon: Lexicon) -> Iterator[Denial]:
    """`Is there a dog?` `No.`; `How many dogs are there?` `None.`"""
    if not exchange.answer or not exchange.question:
        return
    first, asked = exchange.answer[0], exchange.asked or exchange.question[-1]
    counted = counted_noun(asked, lexicon)
    if counted is not None:
        told = answer_number(exchange)
        if told is not None and told[0] == 0 and not restricted(asked.tokens, counted.end):
            yield counted, asked.tokens, told[1]
        return
    named = lexicon.mentions(asked.tokens)
    if len(named) == 1 and not named[0].definite and not lexicon.mentions(first.tokens) and takes_back(first.tokens):
        yield named[0], asked.tokens, first
        return
    put = exchange.put
    if put is None or exchange.yes is not False or "or" in put.tokens:
        return
    mentions = lexicon.mentions(put.tokens)
    if len(mentions) != 1 or mentions[0].definite:
        return
    mention, words = mentions[0], put.tokens
    before = {t for t in words[: mention.first] if is_word(t)}
    if before <= _EXISTENCE and not restricted(words, mention.end):
        yield mention, words, first
