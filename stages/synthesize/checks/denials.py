"""That something is not there, against a box that shows it: said, or a "no" to "Is there an X?".

Only for the label's own name, never for a synonym; only for what a box shows large enough; not where the words may mean
some of it ("no dog on the couch", "no other dog").
"""

import re
from collections.abc import Iterator

from schemas.conversation import Check
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.counts import counted_noun, restricted
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.lexicon import Lexicon, Mention, lexicon_of
from stages.synthesize.checks.statements import TAKEN_BACK, Exchange, affirmed, answer_number, exchanges
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
    "think", "will", "make", "out", "detect", "actually", "really", "even", "composition", "pic", "shot", ",", "some",
})  # fmt: skip
_SHOWS = (
    r"(?:see|spot|find|notice|show|shows|contain|have|feature|include|depict|detect|display|make out|seeing|"
    r"identify|locate)"
)
_SOME = r"(?:(?:a|an|any|the|a single|even a|even one|any sign of an?|any trace of an?) )?"
_BEFORE = re.compile(
    r"(?:"
    r"(?:^|\b(?:there is|there are|there's|there're|there was|see|sees|spot|find|found|contains?|has|have|"
    r"shows?|features?|"
    r"includes?|with|notice|and|but|so|since|because|as|displays?|depicts?|holds?|nope ?,?|no ,|yes ,|[,:;]) )"
    r"(?:absolutely |clearly |simply |really )?(?:no|zero|no single|no sign of an?|no trace of an?) "
    rf"|(?:n't|not|cannot|unable to|never)(?: \w+ly)? {_SHOWS} {_SOME}"
    r"|(?:picture|image|scene|photo|photograph|view|frame|shot|it|composition) (?:\w+ )?(?:without|lacks|"
    r"lacking|is missing|"
    r"misses|is devoid of|is free of) (?:(?:an?|any|a single) )?"
    r")$"
)
_THERE_NOT = re.compile(r"there ?(?:is|are|was|were)? ?(?:n't|not)(?: an?| any| a single| even an?| even one)? $")
_SUBJECT = re.compile(
    r"(?:^|[,;:] |\b(?:and|but|so|that|since|because|as|no ,) )(?:\w+ )?(?:i|we|you|one|it|they|there|"
    r"(?:the|this|that) "
    r"(?:\w+ )?(?:image|picture|photo|photograph|scene|view|frame|shot|composition|drawing))\b[^,;]*$"
)
_AFTER = re.compile(
    r"^(?:(?:is|are|was|were) (?:\w+ly )?(?:absent|missing|nowhere|invisible)|(?:is|are|was|were) ?(?:n't|"
    r"not) (?:\w+ly )?(?:visible|"
    r"present|seen|shown|there|here|in (?:the|this|view)|part of|depicted|pictured|featured|included|"
    r"to be (?:seen|found)|"
    r"among)|(?:cannot|can ?n't|can not|could ?n't) be (?:seen|found|spotted|made out|detected)|"
    r"(?:does|do) ?(?:n't|not) (?:appear|show up|occur|exist|feature))"
)
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
            if sentence.asks or _OTHERS & set(words):
                continue
            before, after = f"{_joined(words[: mention.first])} ", _joined(words[mention.end :])
            if (
                _AFTER.match(after)
                or TAKEN_BACK.search(after)
                or (_not_there(before, mention) and not restricted(words, mention.end))
            ):
                yield mention, words, sentence


def _not_there(before: str, mention: Mention) -> bool:
    if _THERE_NOT.search(before):
        return True
    found = _BEFORE.search(before)
    if not found:
        return False
    if mention.determiner == "no" or "without" in found.group() or "lack" in found.group():
        return True
    return bool(_SUBJECT.search(before)) and not mention.definite


def _joined(words: tuple[str, ...]) -> str:
    return re.sub(r"(\w)n't\b", r"\1 n't", " ".join(words)).replace("ca n't", "cannot")


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
    put = exchange.put
    if put is None or exchange.yes is not False:
        return
    mentions = lexicon.mentions(put.tokens)
    if len(mentions) != 1 or mentions[0].definite:
        return
    mention, words = mentions[0], put.tokens
    before = {t for t in words[: mention.first] if is_word(t)}
    if before <= _EXISTENCE and not restricted(words, mention.end):
        yield mention, words, first
