"""Which noun phrases of a conversation state that something is there, and in which turn.

An answer states what it mentions, but for what it denies, supposes or offers as one of two. A question states what it
speaks of as known ("the dog"); "is there a dog?" states nothing until it is answered with yes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.conversation import Role
from stages.synthesize.checks.lexicon import DETERMINERS, Lexicon, Mention
from stages.synthesize.checks.polarity import asks_yes_no, polarity, put
from stages.synthesize.checks.words import Sentence, number, sentences
from stages.synthesize.context import Draft

_NO = frozenset(
    {"is", "are", "do", "does", "did", "can", "could", "has", "have", "was", "were", "any", "would", "isn't", "aren't"}
)
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
_SHOWING = frozenset({
    "seen", "see", "there", "there's", "shows", "show", "showing", "features", "featuring", "contains", "includes",
    "include", "depicts", "displays", "captures", "background", "foreground", "notice", "spot", "view",
})  # fmt: skip
"""Without such a word a bare plural may mean the kind: "it protects people from the sun"."""
_NOT_SEEN = frozenset({"absent", "missing", "nowhere"})
_SUPPOSED = frozenset({
    "would", "could", "might", "may", "if", "imagine", "should",
    "usually", "often", "typically", "generally", "suggests", "suggesting", "resembles", "resembling", "potentially",
    "potential", "sometimes", "whether", "implies", "implying", "presumably", "commonly", "normally", "tend",
})  # fmt: skip
_POLITE = frozenset({"perhaps", "maybe", "possibly", "likely", "probably"})
_COULD_SEE = re.compile(
    r"\b(?:could|would|might) (?:there|you|we|i|one) (?:perhaps |possibly |say |also )?(?:be|see|spot|find|"
    r"make|confirm|there|that)\b"
)
_DEPICTS = frozenset(
    {"painting", "poster", "statue", "sculpture", "logo", "sticker", "shape", "reflection", "figurine"}
)
_LIKE = frozenset({"like", "as", "resembling"})
TAKEN_BACK = re.compile(
    r"\b(?:there (?:is|are) (?:none|not)|there's none|there (?:isn't|aren't)|(?:doesn't|don't|does not|"
    r"do not) (?:have|contain|"
    r"show|include|feature) (?:one|any|it|them)|none (?:so far|here|at all|is|are)|no such thing|"
    r"none in (?:the|this))\b"
)
"""After a thing has been named: it is not there."""
_WHOLE = frozenset({"image", "picture", "photo", "photograph", "scene", "frame", "visible", "present", "shown", "here"})


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
    existence = yes_no and any(t in _WHOLE for t in sentence.tokens)
    choice = "or" in sentence.tokens
    for mention in lexicon.mentions(sentence.tokens):
        if mention.definite:
            if not existence and not mention.labels & denied and not is_negated(sentence.tokens, mention):
                yield Statement(exchange.turn, sentence, mention)
            elif existence and exchange.yes and not choice:
                yield Statement(exchange.turn + 1, sentence, mention)
        elif yes_no and exchange.yes and not choice and not _supposed(sentence.tokens, mention, True):
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
    return not (is_negated(words, mention) or _supposed(words, mention) or _one_of_two(words, mention))


def is_negated(words: tuple[str, ...], mention: Mention) -> bool:
    """A negation before it, with nothing in between that turns the sentence again; or "… is nowhere to be seen"."""
    before = words[: mention.noun]
    start = 2 if before[:2] in (("no", ","), ("yes", ",")) else 0
    for at in range(len(before) - 1, start - 1, -1):
        if (before[at] in _TURNS_AGAIN or _new_clause(before, at)) and not _there_is_not(words, at):
            break
        if before[at] in _NO:
            return True
    after = words[mention.end :]
    if any(t in _NOT_SEEN for t in after) or TAKEN_BACK.search(" ".join(after)):
        return True
    refused = [k for k, t in enumerate(after) if t in ("not", "isn't", "aren't", "cannot", "can't")]
    return any(t in ("visible", "present", "shown", "seen", "pictured", "depicted") for k in refused for t in after[k:])


def _new_clause(words: tuple[str, ...], at: int) -> bool:
    """Whether a subject starts a clause of its own at `at`: "No doubt, we see a dog"."""
    if words[at] not in _SUBJECTS or at == 0:
        return False
    return words[at - 1] in (",", ":", "—", "–", "and", "so", "because", "as", "since")


def _there_is_not(words: tuple[str, ...], at: int) -> bool:
    around = (*words[max(0, at - 1) : at], *words[at + 1 : at + 4])
    return words[at] == "there" and any(t in _NO for t in around)


def _supposed(words: tuple[str, ...], mention: Mention, asked: bool = False) -> bool:
    """`asked`: in a question, which may be put politely ("Could there perhaps be …?")."""
    before = words[: mention.noun]
    near = [t for t in before[-5:] if t not in DETERMINERS]
    if any(t in _DEPICTS for t in near) and mention.noun > 5:
        return True
    opening = words[max(0, mention.first - 2) : mention.first]
    examples = "such" in before[-4:] or "well" in before[-4:]
    examples = examples or words[mention.end : mention.end + 1] in (("is",), ("are",), ("was",), ("were",), ("has",))
    examples = examples or (mention.first <= 5 and before[-4:-1].count("looks") + before[-3:].count("looks") > 0)
    if any(t in _LIKE for t in opening) and not examples:
        return True
    if mention.definite:
        return False
    clause = before[len(before) - before[::-1].index(",") :] if "," in before else before
    guessed = not asked and any(t in _POLITE for t in clause)
    if guessed or any(t in _SUPPOSED for t in (*before, *words[mention.end : mention.end + 1])):
        return not (asked and _COULD_SEE.search(" ".join(before)))
    bare = mention.plural and mention.count is None and mention.determiner is None
    return bare and not any(t in _WHOLE or t in _SHOWING for t in words)


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
