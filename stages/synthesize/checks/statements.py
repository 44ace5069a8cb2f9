"""Which noun phrases of a conversation state that something is there, and in which turn.

An answer states what it mentions, but for what it denies, supposes or offers as one of two. A question states what it
speaks of as known ("the dog"); "is there a dog?" states nothing until it is answered with yes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.conversation import Role
from stages.synthesize.checks.lexicon import Lexicon, Mention
from stages.synthesize.checks.negations import denied_after, denied_before
from stages.synthesize.checks.polarity import asks_yes_no, polarity, put
from stages.synthesize.checks.suppositions import WHOLE, supposed
from stages.synthesize.checks.words import Sentence, number, sentences
from stages.synthesize.context import Draft

_NO = frozenset({
    "no", "not", "without", "neither", "nor", "never", "none", "nothing", "lack", "lacks", "lacking", "cannot",
    "isn't", "aren't", "wasn't", "weren't", "don't", "doesn't", "didn't", "can't", "couldn't", "hasn't", "haven't",
    "won't", "free", "instead", "unlike", "absence", "wouldn't", "hadn't", "shouldn't", "nobody", "nope",
    "devoid",
})  # fmt: skip
_TURNS_AGAIN = frozenset(
    {"but", "however", "although", "though", "while", "only", "just", "rather", "yet", ";", "there"}
)
_SUBJECTS = frozenset({
    "i", "we", "you", "there", "there's", "it", "it's", "they", "one", "he", "she", "i'm", "i've", "we've", "you've",
    "they're", "that's", "here",
})  # fmt: skip
_NOT_SEEN = frozenset({"absent", "missing", "nowhere"})
_IDLE = re.compile(
    r"(?:without (?:a |any )?(?:doubt|question|exception|hesitation|fail)|"
    r"no (?:doubt|wonder|need|matter|less|fewer|more than|question)|not (?:only|just|merely|simply|solely|least|far|"
    r"to mention|surprisingly)|none other|nothing (?:but|less|other than|hides?|covers?|blocks?|obscures?|"
    r"obstructs?|distracts?)|"
    r"(?:not|cannot|can't|couldn't|don't|doesn't|didn't|won't|wouldn't|never|nobody|nothing)"
    r"(?: (?:can|could|would|will|one|possibly|\w+ly))* "
    r"(?:miss|overlook|ignore|forget|hide|help|mistake|fail|deny|block|obscure|cover|touch|overlap|distract|compete|"
    r"interfere|disturb|overshadow))\b"
)
"""Negations that deny no object."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`mention` is stated to be there by turn `turn`, in the words of `sentence` (maybe of the question before it)."""

    turn: int
    sentence: Sentence
    mention: Mention


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer; `yes`: what the answer starts with, None if neither."""

    turn: int
    """Of the question; the answer's is one more."""
    question: list[Sentence]
    answer: list[Sentence]

    @property
    def yes(self) -> bool | None:
        return polarity(self.answer[0]) if self.answer else None

    @property
    def asked(self) -> Sentence | None:
        """The last sentence that asks; where only the answer tells that it does: the last one."""
        return next((s for s in reversed(self.question) if s.asks), None)

    @property
    def put(self) -> Sentence | None:
        """What is answered by yes or no."""
        return put(self.question)


def exchanges(draft: Draft) -> list[Exchange]:
    """Questions with the answers right after them."""
    turns = draft.turns
    return [
        Exchange(i, sentences(turns[i][1]), sentences(turns[i + 1][1]))
        for i in range(len(turns) - 1)
        if turns[i][0] == Role.user and turns[i + 1][0] == Role.assistant
    ]


def stated(draft: Draft, lexicon: Lexicon) -> Iterator[Statement]:
    """Everything that the conversation states to be there."""
    for exchange in exchanges(draft):
        denied = _denied(exchange, lexicon)
        for sentence in exchange.question:
            yield from _asked(exchange, sentence, lexicon, denied)
        for sentence in exchange.answer:
            if not sentence.asks:
                yield from _told(exchange.turn + 1, sentence, lexicon)


def _told(turn: int, sentence: Sentence, lexicon: Lexicon) -> Iterator[Statement]:
    for mention in lexicon.mentions(sentence.tokens):
        if affirmed(sentence.tokens, mention):
            yield Statement(turn, sentence, mention)


def _asked(exchange: Exchange, sentence: Sentence, lexicon: Lexicon, denied: frozenset[str]) -> Iterator[Statement]:
    yes_no = exchange.put is sentence or asks_yes_no(sentence)
    existence = yes_no and any(t in WHOLE for t in sentence.tokens)
    choice = "or" in sentence.tokens
    for mention in lexicon.mentions(sentence.tokens):
        if mention.definite:
            if not existence and not mention.labels & denied and not is_negated(sentence.tokens, mention):
                yield Statement(exchange.turn, sentence, mention)
            elif existence and exchange.yes and not choice:
                yield Statement(exchange.turn + 1, sentence, mention)
        elif yes_no and exchange.yes and not choice and not supposed(sentence.tokens, mention, True):
            yield Statement(exchange.turn + 1, sentence, mention)


def _denied(exchange: Exchange, lexicon: Lexicon) -> frozenset[str]:
    """Labels that the answer says are not there."""
    found: set[str] = set()
    for sentence in exchange.answer:
        for mention in lexicon.mentions(sentence.tokens):
            if is_negated(sentence.tokens, mention):
                found |= mention.labels
    return frozenset(found)


def affirmed(words: tuple[str, ...], mention: Mention) -> bool:
    """Whether the sentence says that it is there."""
    return not (is_negated(words, mention) or supposed(words, mention) or _one_of_two(words, mention))


def is_negated(words: tuple[str, ...], mention: Mention) -> bool:
    """A negation before it, with nothing in between that turns the sentence again; or "… is nowhere to be seen"."""
    before = words[: mention.noun]
    start = 2 if before[:2] in (("no", ","), ("yes", ",")) else 0
    for at in range(len(before) - 1, start - 1, -1):
        if (before[at] in _TURNS_AGAIN or _new_clause(before, at)) and not _there_is_not(words, at):
            break
        if before[at] in _NO and not _idle(words, at, mention):
            return True
    after = words[mention.end :]
    if any(t in _NOT_SEEN for t in after) or denied_after(words, mention) or denied_before(words, mention):
        return True
    refused = [k for k, t in enumerate(after) if t in ("not", "isn't", "aren't", "cannot", "can't")]
    return any(t in ("visible", "present", "shown", "seen", "pictured", "depicted") for k in refused for t in after[k:])


def _idle(words: tuple[str, ...], at: int, mention: Mention) -> bool:
    """Whether the negation at `at` leaves what follows it there: "nobody can miss the dog", "without the dog"."""
    if words[at] == "without" and mention.definite:
        return True
    return bool(_IDLE.match(" ".join(words[at : at + 6])))


def _new_clause(words: tuple[str, ...], at: int) -> bool:
    """Whether a subject starts a clause of its own at `at`: "No doubt, we see a dog"."""
    if words[at] not in _SUBJECTS or at == 0:
        return False
    return words[at - 1] in (",", ":", "—", "–", "and", "so", "because", "as", "since")


def _there_is_not(words: tuple[str, ...], at: int) -> bool:
    around = (*words[max(0, at - 1) : at], *words[at + 1 : at + 4])
    return words[at] == "there" and any(t in _NO for t in around)


def _one_of_two(words: tuple[str, ...], mention: Mention) -> bool:
    before = words[max(0, mention.first - 2) : mention.first]
    return "or" in before or words[mention.end : mention.end + 1] == ("or",)


_NONE_OF_THEM = re.compile(
    r"\b(?:there are none|there's none|there is none|(?:not|n't|cannot|can't|don't) (?:\w+ )?(?:see|find|"
    r"spot|have|make out|count)"
    r" any)\b"
)


def answer_number(exchange: Exchange) -> tuple[int, Sentence] | None:
    """The number that answers "how many"; None where it is vague, bounded or not there."""
    for sentence in exchange.answer[:2]:
        words = sentence.tokens
        if words[:1] in (("none",), ("nobody",), ("zero",)) or words[:2] in (("there", "aren't"), ("no", ".")):
            return 0, sentence
        if _NONE_OF_THEM.search(" ".join(words)):
            return 0, sentence
        for at, word in enumerate(words):
            value = number(word)
            if value is None and word == "single":
                value = 1
            if value is None and word == "no" and at and words[at - 1] in ("is", "are"):
                value = 0
            if value is None and word == "pair" and words[at + 1 : at + 2] != ("s",):
                value = 2
            if value is not None:
                return None if is_bounded(words, at) else (value, sentence)
    return None


def is_bounded(words: tuple[str, ...], at: int) -> bool:
    """Whether the number at `at` is told as a bound or a guess."""
    before = words[max(0, at - 3) : at]
    vague = {"least", "most", "about", "around", "roughly", "nearly", "almost", "approximately", "than"}
    vague |= {"between", "perhaps", "maybe", "possibly"}
    near = {"or", "over", "up", "some", "not", "-", "–"}
    return (
        any(t in vague for t in before)
        or before[-2:] == ("up", "to")
        or any(t in near for t in before[-1:])
        or words[at + 1 : at + 2] in (("or",), ("to",), ("-",), ("/",), ("%",))
    )
