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
    "think", "will", "make", "out", "detect", "actually", "really", "even", "composition", "something", "anything",
    "like", "kind", "sort", "appears", "occur", "observe", "locate",
    "identify", "displayed", "depicted", "pictured", "featured", "included", "captured", "within", "inside", "around",
    "our", "its", "presence", "who", "containing", "look", "looks", "seem", "seems", "pic", "shot", ",", "some",
})  # fmt: skip
_SHOWS = (
    r"(?:see|spot|find|notice|show|shows|contain|have|feature|include|depict|detect|display|make out|seeing|"
    r"identify|locate)"
)
_THING = (
    r"(?:an?|any|the|a single|even a|even one|any sign of an?|any trace of an?|such a thing as an?|anything like an?)"
)
_SOME = rf"(?:{_THING} )?"
_PLACE = r"(?:(?:from|in|of|on|within) (?:the|this|that) (?:\w+ )?(?:\w+) |here |there |now )?"
_GONE = (
    r"(?:absent|missing|nowhere|invisible|lacking|gone|left out|omitted|excluded|out of (?:sight|view|"
    r"the (?:picture|frame|image|shot|scene))|nonexistent|non-existent|not there)"
)
_PART = (
    r"(?:seen|shown|found|spotted|made out|detected|identified|located|observed|noticed|depicted|pictured|featured|"
    r"included|captured|displayed|represented|portrayed|recognised|recognized|discerned|visible|present|there|here)"
)
_BEFORE = re.compile(
    r"(?:"
    r"(?:^|\b(?:there is|there are|there's|there're|there was|see|sees|spot|find|found|contains?|has|have|"
    r"shows?|features?|"
    r"includes?|with|notice|and|but|so|since|because|as|displays?|depicts?|holds?|nope ?,?|no ,|yes ,|[,:;]) )"
    r"(?:absolutely |clearly |simply |really )?(?:no|zero|no single|no sign of an?|no trace of an?|"
    r"no such thing as an?|not one|not a single|nothing (?:like|resembling) an?) "
    rf"|(?:n't|not|cannot|unable to|never)(?: (?:able to|\w+ly|even|manage to))? {_SHOWS} {_SOME}"
    r"|(?:picture|image|scene|photo|photograph|view|frame|shot|it|composition) (?:\w+ )?(?:without|lacks|"
    r"lacking|is missing|"
    r"misses|is devoid of|is free (?:of|from)|has nothing like) (?:(?:an?|any|a single) )?"
    rf"|(?:^|[,:;] |\b(?:and|but|so|that) )(?:\w+ly )?(?:{_GONE}|not {_PART}) {_PLACE}(?:is|are|was|were) {_SOME}"
    rf"|\bwhat(?:'s)? (?:\w+ )?(?:\w+ )?(?:n't|not|{_GONE}) ?{_PLACE}(?:(?:{_SHOWS}|{_PART}) )?{_PLACE}(?:is|are|was) "
    rf"{_SOME}"
    rf"|\bnowhere (?:{_PLACE})?(?:is|are|do|does|did|can|could) (?:there |(?:i|we|you|one) {_SHOWS} )?{_SOME}"
    r"|\b(?:absence|lack) of (?:an?|any|the) "
    r")$"
)
_THERE_NOT = re.compile(
    r"there ?(?:is|are|was|were|does|do|seems|appears)? ?(?:n't|not)(?: (?:seem|appear) to be| exist)?"
    r"(?: an?| any| a single| even an?| even one)? $"
)
_SUBJECT = re.compile(
    r"(?:^|[,;:] |\b(?:and|but|so|that|since|because|as|no ,) )(?:\w+ )?(?:i|we|you|one|it|they|there|"
    r"(?:the|this|that) "
    r"(?:\w+ )?(?:image|picture|photo|photograph|scene|view|frame|shot|composition|drawing))\b[^,;]*$"
)
_AFTER = re.compile(
    r"^(?:(?:is|are|was|were|seems?|appears?|remains?|must be|has been|have been) (?:to be )?(?:\w+ly |simply )?"
    rf"{_GONE}\b|"
    r"(?:is|are|was|were|has|have|had) ?(?:n't|"
    rf"not) (?:been |\w+ly )*(?:{_PART}\b|in (?:the|this|it|view|sight)|"
    r"part of|"
    rf"to be {_PART}|made it into|something (?:that )?(?:i|we|you|one)|one of|"
    rf"among)|(?:cannot|can ?n't|can not|could ?n't|could not) (?:\w+ly )?be {_PART}|"
    r"(?:does|do|did) ?(?:n't|not) (?:seem to |appear to )?(?:be (?:in|part|there|here|present|visible)|appear|"
    r"show up|occur|exist|feature|figure|come into view|belong to|form part)|(?:never|nowhere) (?:appears?|shows? up|"
    r"occurs?|features?))"
)
_OF_NO_USE = re.compile(
    r"^(?:to (?!the\b|its\b|it\b|his\b|her\b|your\b|my\b|our\b|their\b|one\b|a\b|an\b)\w+|"
    r"that (?:i|we|you|one) |which |"
    r"(?:i|we|you|one) (?:can|could)|as far as|for (?:me|us) to|whatsoever|at all|anywhere)"
)
"""After "no dog": what could be done with one, which picks none of them: "there is no dog to speak of"."""
_BARE = re.compile(
    r"without|lack|absence|\bwhat\b|nothing|nowhere|\bnot (?:one|a single)|"
    rf"^(?:\W|what|and|but|so|that|\w+ly )*(?:n't|{_GONE}|not {_PART})"
)
"""What denies without a subject that sees or holds."""
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
            before, after = f"{_joined(words[: mention.first])} ", _joined(words[mention.end :])
            if (
                _AFTER.match(after)
                or TAKEN_BACK.search(" ".join(words[mention.end :]))
                or (_not_there(before, mention) and not _restricted(words, mention.end, after))
            ):
                yield mention, words, sentence


def _restricted(words: tuple[str, ...], end: int, after: str) -> bool:
    return restricted(words, end) and not _OF_NO_USE.match(after)


def _not_there(before: str, mention: Mention) -> bool:
    if _THERE_NOT.search(before):
        return True
    found = _BEFORE.search(before)
    if not found:
        return False
    if mention.determiner == "no" or _BARE.search(found.group()):
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
