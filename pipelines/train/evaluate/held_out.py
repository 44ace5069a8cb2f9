"""Conversations that a build keeps from training: is the model's answer the one that was written?

Questions of split `val` are asked one turn after the other, with the written answers to those before. Answers of the
templates are read by what they state: yes or no, a number, sides, or else the words themselves. Two controls stand
beside: the most frequent answer of the split that is trained on, and the same model shown another sample's picture.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.exports.read import Sample, samples, shards_of
from pipelines.manifest import read_manifest
from pipelines.train.evaluate.counting import ALL, mean, unanswered
from pipelines.train.evaluate.generate import answers
from pipelines.train.evaluate.normalise import normalised
from pipelines.train.models import Built
from schemas.conversation import Conversation, Role
from schemas.errors import WrongData
from schemas.evaluate import Answer, GenerateConfig, Question, TableRow
from stages.store import Store
from stages.synthesize.words import counted

TEMPLATE = "template"
"""Teacher of conversations whose answers can be compared."""
_MOST = 100
_NUMBERS = {word: str(n) for n in range(_MOST + 1) for word in (counted(n), str(n))} | {"no": "0", "none": "0"}
_SIDES = {
    "left": "left", "right": "right", "above": "above", "higher": "above", "below": "below", "lower": "below",
    "under": "below",
}  # fmt: skip


class Form(StrEnum):
    """What an answer states."""

    yes_no = "yes/no"
    number = "number"
    sides = "sides"
    choice = "choice"
    """One of two that the question offers."""
    words = "words"


Look = Callable[[Iterator[Answer]], Iterable[Answer]]

Key = tuple[Form, frozenset[str]]
"""Equal keys state the same. An empty one states nothing of that form, and equals no other."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Which conversations are asked about."""

    split: str = "val"
    kinds: tuple[str, ...] | None = None
    """None: all that templates wrote."""
    teachers: tuple[str, ...] | None = (TEMPLATE,)
    most: int | None = None
    """At most so many samples, the first in order of a hash of their ids."""


def held_out_rows(
    built: Built,
    store: Store,
    asked: HeldOut | None = None,
    config: GenerateConfig | None = None,
    look: Look = iter,
) -> list[TableRow]:
    """A row for all, each kind, and each form of a kind that has several: `accuracy` (the answer states the same),
    `exact` (the same words), `majority` and `shuffled` (the controls' accuracy; one of two that a question offers
    counts half for `majority`). `look` sees the answers pass. Raises WrongData where nothing is held out."""
    asked = asked or HeldOut()
    said = list(look(answers(built, questions(store, asked), config)))
    if not said:
        raise WrongData(
            f"{store.url} has no conversation in split {asked.split!r} to ask about",
            "set shards.val_share and synthesize.template in its recipe, or ask about other kinds",
        )
    shuffled = list(look(answers(built, questions(store, asked, shuffled=True), config)))
    return rows(said, shuffled, majority(store, asked))


def questions(store: Store, asked: HeldOut, shuffled: bool = False) -> Iterator[Question]:
    """In the order of the shards; subset: kind. Conversations over several pictures and preference pairs are left out.
    `shuffled`: each sample's questions are asked about the picture of the next one in order of a hash."""
    chosen = _chosen(store, asked)
    order = sorted(chosen, key=drawn)
    shown = dict(zip(order, [*order[1:], *order[:1]], strict=True)) if shuffled else {one: one for one in order}
    for sample, _ in _samples(store, asked.split):
        if sample.sample_id not in chosen:
            continue
        tar, offset, size = chosen[shown[sample.sample_id]]
        with store.open(tar) as file:
            file.seek(offset)
            picture = file.read(size)
        for number, said in enumerate(sample.conversations or ()):
            if _fits(said, asked):
                yield from _asked(sample.sample_id, number, said, picture)


def rows(said: Sequence[Answer], shuffled: Sequence[Answer], usual: dict[tuple[str, Form], Key]) -> list[TableRow]:
    """`said` and `shuffled` answer the same questions in the same order."""
    groups: dict[str, list[int]] = {ALL: list(range(len(said)))}
    for i, answer in enumerate(said):
        groups.setdefault(answer.question.subset, []).append(i)
    for kind, members in [(name, found) for name, found in groups.items() if name != ALL]:
        forms = {key_of(said[i])[0] for i in members}
        for form in sorted(forms) if len(forms) > 1 else []:
            groups[f"{kind} {form.value}"] = [i for i in members if key_of(said[i])[0] is form]
    return [
        _row(name, [said[i] for i in groups[name]], [shuffled[i] for i in groups[name]], usual)
        for name in [ALL, *sorted(name for name in groups if name != ALL)]
    ]


def majority(store: Store, asked: HeldOut) -> dict[tuple[str, Form], Key]:
    """(kind, form) → what the answers outside of the split state most often; the first of equals in order of words.
    The split itself is counted where there is no other."""
    splits = {_split(tar) for tar in shards_of(read_manifest(store))}
    others = splits - {asked.split} or splits
    found: dict[tuple[str, Form], Counter[Key]] = {}
    for split in sorted(others):
        for sample, _ in _samples(store, split):
            for said in sample.conversations or ():
                turns = said.turns if _fits(said, asked) else []
                for question, turn in zip(turns[::2], turns[1::2], strict=True):
                    key = state(said.kind, turn.text, question.text)
                    found.setdefault((said.kind, key[0]), Counter())[key] += 1
    return {which: min(keys, key=lambda key: (-keys[key], sorted(key[1]))) for which, keys in found.items()}


def key_of(answer: Answer) -> Key:
    """What the written answer states."""
    return state(answer.question.subset, answer.question.answers[0], answer.question.text)


def right(answer: Answer) -> bool:
    """The model states what the written answer does."""
    form, stated = key_of(answer)
    return answer.why is None and bool(stated) and read(form, answer.text) == stated


def state(kind: str, text: str, question: str) -> Key:
    """What an answer of this kind states."""
    words = _words(text)
    if kind != "counting" and words[:1] and words[0] in ("yes", "no"):
        form = Form.yes_no
    elif kind == "counting" and read(Form.number, text):
        form = Form.number
    elif kind == "relation" and read(Form.sides, text):
        form = Form.sides
    elif "or" in _words(question) and normalised(text) in normalised(question):
        form = Form.choice
    else:
        form = Form.words
    return form, read(form, text)


def read(form: Form, text: str) -> frozenset[str]:
    """What a text states, as an answer of that form. A second number, or yes beside no, takes nothing away: the first
    counts."""
    words = _words(text)
    if form is Form.yes_no:
        return frozenset([word for word in words if word in ("yes", "no")][:1])
    if form is Form.number:
        return frozenset([_NUMBERS[word] for word in words if word in _NUMBERS][:1])
    if form is Form.sides:
        return frozenset(_SIDES[word] for word in words if word in _SIDES)
    return frozenset({normalised(text)} - {""})


def _row(name: str, said: list[Answer], shuffled: list[Answer], usual: dict[tuple[str, Form], Key]) -> TableRow:
    keys = [(one.question.subset, key_of(one)) for one in said]
    values = {
        "accuracy": mean([float(right(one)) for one in said]),
        "exact": mean([float(one.why is None and _same_words(one)) for one in said]),
        "majority": mean([_blind(usual.get((kind, key[0])), key) for kind, key in keys]),
        "shuffled": mean([float(right(one)) for one in shuffled]),
    }
    return TableRow(name=name, count=len(said), unanswered=unanswered(said), values=values)


def _blind(usual: Key | None, key: Key) -> float:
    """A coin is thrown between two that are offered."""
    return 0.5 if key[0] is Form.choice else float(usual == key)


def _same_words(answer: Answer) -> bool:
    return normalised(answer.text) == normalised(answer.question.answers[0])


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def sample_of(question: Question) -> str:
    """The sample_id that a held-out question is about."""
    return question.id.rsplit("-", 2)[0]


def _asked(sample_id: str, number: int, said: Conversation, picture: bytes) -> Iterator[Question]:
    turns = [turn.text for turn in said.turns]
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    for i, (text, answer) in enumerate(pairs):
        name = f"{sample_id}-{number}-{i}"
        history = tuple(pairs[:i])
        yield Question(id=name, text=text, images=(picture,), history=history, answers=(answer,), subset=said.kind)


def _fits(said: Conversation, asked: HeldOut) -> bool:
    order = [turn.role for turn in said.turns] == [Role.user.value, Role.assistant.value] * (len(said.turns) // 2)
    of_kind = asked.kinds is None or said.kind in asked.kinds
    by = asked.teachers is None or said.teacher in asked.teachers
    return order and of_kind and by and said.images is None and said.rejected is None


def _chosen(store: Store, asked: HeldOut) -> dict[str, tuple[str, int, int]]:
    """sample_id → tar, offset and size of its picture; those that have a conversation to ask about."""
    found = {
        sample.sample_id: (tar, sample.entry["image_offset"], sample.entry["image_size"])
        for sample, tar in _samples(store, asked.split)
        if any(_fits(said, asked) for said in sample.conversations or ())
    }
    return {one: found[one] for one in sorted(found, key=drawn)[: asked.most]}


def _samples(store: Store, split: str) -> Iterator[tuple[Sample, str]]:
    for tar in shards_of(read_manifest(store)):
        if _split(tar) == split:
            for sample in samples(store, tar):
                yield sample, tar


def _split(tar: str) -> str:
    """`shards/val-000000.tar` → val."""
    return tar.rsplit("/", 1)[-1].rsplit("-", 1)[0]


def drawn(sample_id: str) -> bytes:
    """What samples are put in order by, where some of them are chosen."""
    return hashlib.sha256(f"held out:{sample_id}".encode()).digest()
