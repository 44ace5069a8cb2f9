"""The `template` teacher: conversations from boxes, without a model, as GQA (arXiv:1902.09506) and CLEVR
(arXiv:1612.06890) write theirs.

In: a sample's `Context`. Out: at most one `Draft` per kind, each turn with its evidence; none where the boxes decide
nothing. A function of the context, the seed and the data set's label statistics. English only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from random import Random
from typing import NamedTuple

from schemas.synthesize import How, TemplateConfig, TemplateKind
from stages.synthesize import phrases
from stages.synthesize.context import Context, Draft
from stages.synthesize.facts import Facts
from stages.synthesize.negatives import Statistics, absent
from stages.synthesize.relations import OPPOSITE, Relation, relation, stacked
from stages.synthesize.words import Number, a, number, sentence

VERSION = 1
"""Raise it when the same context and config give other words."""
MOST_BOXES = 1000
"""Samples with more get no conversation: no annotator drew them, and pairs would be millions."""


class Exchange(NamedTuple):
    """A question, its answer and what the answer rests on. `truth`: of yes/no questions, which of them."""

    question: str
    answer: str
    evidence: tuple[str, ...]
    truth: bool | None = None


@dataclass(frozen=True)
class Desk:
    """One sample and what the writers of all kinds share."""

    context: Context
    config: TemplateConfig
    statistics: Statistics | None

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.context, self.config.smallest)

    def rng(self, what: str) -> Random:
        """One for each purpose, so that a kind left out changes no other."""
        return Random(f"{self.config.seed}:{self.context.sample_id}:{what}")

    @cached_property
    def present(self) -> tuple[list[str], list[str]]:
        """Labels that are there, shared out: to negatives (the larger half), to vqa."""
        labels = list(self.facts.nouns)
        self.rng("present").shuffle(labels)
        return labels[::2], labels[1::2]

    @cached_property
    def missing(self) -> tuple[list[str], list[str]]:
        """Absent labels: to negatives (each `How` in turn), to vqa (at random). No label twice."""
        hows = [how for how in self.config.negatives if how is How.random or self.statistics]
        rng, most = self.rng("absent"), 2 * self.config.questions
        rng.shuffle(hows)
        queues = [absent(self.context, self.statistics, rng, how, most) for how in hows]
        turns = [label for rank in range(most) for queue in queues for label in queue[rank : rank + 1]]
        room = min(self.config.questions // 2, max(1, len(self.present[0])))
        first = list(dict.fromkeys(turns))[:room]
        rest = [label for label in absent(self.context, None, rng, How.random, most) if label not in first]
        return first, rest

    def say(self, noun: str) -> str:
        """How a folded label is written."""
        return self.facts.spelling[noun]

    def exists(self, noun: str, rng: Random) -> Exchange:
        found = self.facts.instances(noun)
        label = self.say(noun)
        evidence = tuple(f"box:{i}" for i in found)
        answer = phrases.yes(label, self.facts.several(noun), rng)
        return Exchange(phrases.whether(label, rng), answer, evidence, True)

    def lacks(self, noun: str, rng: Random) -> Exchange:
        label = self.say(noun)
        return Exchange(phrases.whether(label, rng), phrases.no(label, rng), (f"absent:{noun}",), False)

    @cached_property
    def heads(self) -> list[str]:
        """What is left of the visible boxes' labels without their colours."""
        stated = [self.facts.colour(i) for i in sorted(self.facts.visible)]
        heads = dict.fromkeys(found[1] for found in stated if found)
        return [head for head in heads if head in self.facts.spelling]

    def once(self) -> list[tuple[str, int]]:
        """Visible boxes that one name fits alone, each with that name: the label, or the label without its colour."""
        found: dict[int, str] = {}
        for noun in (*self.facts.nouns, *self.heads):
            index = None if noun in self.config.uncounted else self.facts.only(noun)
            if index is not None:
                found.setdefault(index, noun)
        return [(noun, index) for index, noun in sorted(found.items())]


def write(context: Context, config: TemplateConfig, statistics: Statistics | None = None) -> list[Draft]:
    """Conversations about one sample, in the order of `config.kinds`; `statistics` are the whole data set's."""
    if context.boxes is None or not (context.boxes or context.vocabulary) or len(context.boxes) > MOST_BOXES:
        return []
    if context.language.split("-")[0].casefold() != "en":
        return []
    desk = Desk(context, config, statistics)
    drafts: list[Draft] = []
    for kind in dict.fromkeys(config.kinds):
        exchanges = _WRITERS[kind](desk, desk.rng(kind))
        if exchanges:
            drafts.append(_draft(kind, exchanges[: config.questions], config))
    return drafts


def _draft(kind: TemplateKind, exchanges: Sequence[Exchange], config: TemplateConfig) -> Draft:
    turns: list[tuple[str, str]] = []
    evidence: list[tuple[str, ...]] = []
    for exchange in exchanges:
        prompt = config.short_prompt if kind is TemplateKind.vqa and not turns else ""
        turns += [("user", f"{exchange.question}\n{prompt}" if prompt else exchange.question)]
        turns += [("assistant", exchange.answer)]
        evidence += [(), exchange.evidence]
    return Draft(kind=kind.value, turns=tuple(turns), language="en", evidence=tuple(evidence))


def _vqa(desk: Desk, rng: Random) -> list[Exchange]:
    """Short answers: colours, a choice between one that is there and one that is not, yes and no in equal number."""
    _, here = desk.present
    _, gone = desk.missing
    most = desk.config.questions
    pairs = min(len(here), len(gone), max(most // 3, 1))
    found = [desk.exists(noun, rng) for noun in here[:pairs]] + [desk.lacks(noun, rng) for noun in gone[:pairs]]
    found, others = found if len(found) <= most else [], _colours(desk, rng)
    unasked = [noun for noun in desk.facts.nouns if noun not in here[:pairs]]
    choice = _choice(desk, (unasked, gone[pairs:]), rng)
    others = ([choice] if choice else []) + others
    found += others[: most - len(found)]
    rng.shuffle(found)
    short = {True: "Yes", False: "No"}
    return [e if e.truth is None else e._replace(answer=short[e.truth]) for e in found]


def _colours(desk: Desk, rng: Random) -> list[Exchange]:
    found: list[Exchange] = []
    for index in sorted(desk.facts.visible):
        stated = desk.facts.colour(index)
        if stated and stated[1] in desk.facts.spelling and desk.facts.only(stated[1]) == index:
            question = phrases.what_colour(desk.say(stated[1]), rng)
            found.append(Exchange(question, stated[0].capitalize(), (f"box:{index}",)))
    rng.shuffle(found)
    return found


def _choice(desk: Desk, nouns: tuple[list[str], list[str]], rng: Random) -> Exchange | None:
    """GQA's "choose", between one that is there and one that is not. Both take "a", or the wording tells them apart."""
    here, gone = ([noun for noun in found if number(desk.say(noun)) is Number.single] for found in nouns)
    if not here or not gone:
        return None
    yes, no = rng.choice(here), gone[0]
    asked = [desk.say(yes), desk.say(no)]
    rng.shuffle(asked)
    evidence = (*(f"box:{i}" for i in desk.facts.instances(yes)), f"absent:{no}")
    return Exchange(phrases.which(asked, rng), sentence(a(desk.say(yes)))[:-1], evidence)


def _counting(desk: Desk, rng: Random) -> list[Exchange]:
    """Each label that can be counted, its noun without the colour, and at times one that is not there."""
    facts = Facts(desk.context, max(desk.config.smallest, desk.config.smallest_counted))
    nouns = [noun for noun in dict.fromkeys([*desk.facts.nouns, *desk.heads]) if noun not in desk.config.uncounted]
    nouns = [noun for noun in nouns if number(desk.say(noun)) in (Number.single, Number.pair)]
    rng.shuffle(nouns)
    found: list[Exchange] = []
    for noun in nouns:
        count = facts.count(noun)
        if count is not None and 0 < count <= desk.config.max_count:
            evidence = tuple(f"box:{i}" for i in desk.facts.instances(noun))
            answer = phrases.there_are(desk.say(noun), count, rng)
            found.append(Exchange(phrases.how_many(desk.say(noun), rng), answer, evidence))
    zeros = [noun for noun in desk.missing[1][::-1] if number(desk.say(noun)) is Number.single]
    if zeros and rng.random() < 0.3:
        answer = phrases.there_are(desk.say(zeros[0]), 0, rng)
        zero = Exchange(phrases.how_many(desk.say(zeros[0]), rng), answer, (f"absent:{zeros[0]}",))
        found.insert(rng.randrange(min(len(found) + 1, desk.config.questions)), zero)
    return found


def _relation(desk: Desk, rng: Random) -> list[Exchange]:
    """Of four pairs, two are asked with the answers yes and no, two openly; a lone one openly, or both ways round."""
    objects = desk.once()
    pairs = list(combinations(rng.sample(objects, min(len(objects), 30)), 2))
    rng.shuffle(pairs)
    boxes, found = desk.context.boxes or (), []
    for pair in pairs:
        one, other = pair if rng.random() < 0.5 else pair[::-1]
        sides = relation(boxes[one[1]], boxes[other[1]], desk.context.width, desk.context.height)
        if sides:
            found.append((one, other, [side for side in Relation if side in sides]))
    if len(found) == 1 and rng.random() < 0.5:
        found += [(other, one, [OPPOSITE[side] for side in sides]) for one, other, sides in found]
    found = found[: desk.config.questions]
    asked: list[Exchange] = []
    for rank, (one, other, sides) in enumerate(found):
        if rank < (len(found) + 2) // 4 * 2:
            asked.append(_yes_no(desk, (one, other), sides, rank % 2 == 0, rng))
        else:
            asked.append(_open(desk, (one, other), sides, rng))
    rng.shuffle(asked)
    return asked


Pair = tuple[tuple[str, int], tuple[str, int]]


def _yes_no(desk: Desk, pair: Pair, sides: list[Relation], truth: bool, rng: Random) -> Exchange:
    (one, i), (other, j) = pair
    boxes = desk.context.boxes or ()
    above = stacked(boxes[i], boxes[j])
    side = rng.choice(sides)
    question = phrases.is_it(desk.say(one), side if truth else OPPOSITE[side], desk.say(other), above)
    statement = phrases.lies(desk.say(one), [side], desk.say(other), above)
    word = "Yes" if truth else "No"
    answer = rng.choice((f"{word}.", f"{word}, {statement[0].lower()}{statement[1:]}"))
    return Exchange(question, answer, (f"box:{i}", f"box:{j}"), truth)


def _open(desk: Desk, pair: Pair, sides: list[Relation], rng: Random) -> Exchange:
    """Where is it?, or a choice between the two sides of one axis."""
    (one, i), (other, j) = pair
    boxes = desk.context.boxes or ()
    above = stacked(boxes[i], boxes[j])
    if rng.random() < 0.5:
        question = phrases.where(desk.say(one), desk.say(other), rng)
    else:
        sides = [rng.choice(sides)]
        asked = (sides[0], OPPOSITE[sides[0]]) if rng.random() < 0.5 else (OPPOSITE[sides[0]], sides[0])
        question, above = phrases.left_or_right(desk.say(one), asked, desk.say(other)), False
    return Exchange(question, phrases.lies(desk.say(one), sides, desk.say(other), above), (f"box:{i}", f"box:{j}"))


def _negatives(desk: Desk, rng: Random) -> list[Exchange]:
    """POPE's questions: as many about what is there as about what is not; where nothing is there, one that is not."""
    here, gone = desk.present[0], desk.missing[0]
    size = min(len(here), len(gone), desk.config.questions // 2)
    found = [desk.exists(noun, rng) for noun in here[:size]] + [desk.lacks(noun, rng) for noun in gone[:size]]
    if desk.context.boxes == ():
        found = [desk.lacks(noun, rng) for noun in gone[:1]]
    rng.shuffle(found)
    return found


_WRITERS: dict[TemplateKind, Callable[[Desk, Random], list[Exchange]]] = {
    TemplateKind.vqa: _vqa,
    TemplateKind.counting: _counting,
    TemplateKind.relation: _relation,
    TemplateKind.negatives: _negatives,
}
