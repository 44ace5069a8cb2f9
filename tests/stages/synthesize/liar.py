"""A lying teacher: conversations that are true of a context, and the same with one labelled error."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import Formatter

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import make_claims
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.shapes import Colour, Shape
from schemas.conversation import Check
from schemas.sample import Box
from schemas.synthesize import HEAPS
from stages.synthesize.context import Context, Draft, TextLine
from tests.stages.synthesize import fresh, last, lies, phrases, sixth, third

KINDS: dict[str, Check] = {
    "absent object": Check.absent_object, "wrong count": Check.wrong_count, "wrong colour": Check.wrong_colour,
    "wrong side": Check.wrong_relation, "invented text": Check.invented_text, "leak": Check.leak,
    "refusal": Check.refusal, "loop": Check.loop, "denied object": Check.denied_object,
}  # fmt: skip
"""Planted error → the check that ought to find it."""
SETS = {"fresh": fresh, "third": third, "last": last, "sixth": sixth}
"""Whole sets of phrasings; `first` and `second` are the halves of phrases.py and lies.py."""
SHAPE_LABELS = frozenset(f"{c} {s}" for c in Colour for s in Shape)
SIGNS = ("STOP", "Main Street", "OPEN 24 HOURS", "Bakery", "Platform 9", "Welcome home", "No Entry", "Fresh Coffee",
         "Library", "Exit Only", "Summer Sale", "Harbour View", "Take Away", "City Museum")  # fmt: skip
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SIDES = {
    "left": ("to the left of", "left of", "on the left side of"),
    "right": ("to the right of", "right of", "on the right side of"),
    "above": ("above", "higher than"), "below": ("below", "beneath", "lower than"),
}  # fmt: skip
BACK = {"left": "right", "right": "left", "above": "below", "below": "above"}
EDGES = {"left": "left", "right": "right", "above": "top", "below": "bottom"}
LARGE = 0.02
"""Share of the picture from which on a box is denied: nobody overlooks that."""
PLURAL_ONLY = frozenset({"skis", "scissors", "broccoli"})
PLURALS = {"person": "people", "knife": "knives", "sheep": "sheep", "mouse": "mice", "cross": "crosses"}
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """A conversation; `kind` None: all of it is true. `turns`: where the lie stands."""

    draft: Draft
    context: Context
    kind: str | None
    turns: tuple[int, int] = (-1, -1)


def scene_context(seed: int) -> Context:
    """A scene of the sample web with its boxes, a true caption and one or two text lines of its own."""
    scene, rng = make_scene(seed), Random(f"context:{seed}")
    boxes = tuple(
        Box(label=o.label, x=b.x, y=b.y, w=b.w, h=b.h) for o, b in zip(scene.objects, scene.boxes(), strict=True)
    )
    texts = tuple(TextLine(text=t, x=4, y=4, w=80, h=16) for t in rng.sample(SIGNS, rng.randint(1, 2)))
    caption = sentence(make_claims(scene, rng), seed)
    return Context(f"scene-{seed}", scene.width, scene.height, (caption,), boxes, SHAPE_LABELS, texts)


class Liar:
    """Draws phrasings of one set: `first`, `second`, or one of `SETS`."""

    def __init__(self, which: str) -> None:
        self.which = which

    def true(self, context: Context, seed: int | str, number: int = 3) -> Told:
        rng = Random(f"true:{seed}")
        pairs = self._true_pairs(context, rng, number)
        return Told(_draft(pairs), context, None)

    def lie(self, context: Context, kind: str, seed: int | str, number: int = 3) -> Told | None:
        """One planted error among true exchanges; None where this context has no room for it."""
        rng = Random(f"lie:{kind}:{seed}")
        planted = self._planted(context, kind, rng)
        if planted is None:
            return None
        pairs = [p for p in self._true_pairs(context, rng, number) if p[0] != planted[0] and p[1] != planted[1]]
        at = rng.randint(0, len(pairs))
        pairs.insert(at, planted)
        return Told(_draft(pairs), context, kind, (2 * at, 2 * at + 1))

    def _of(self, name: str) -> tuple:
        if self.which in SETS:
            return getattr(SETS[self.which], name, ())
        both = getattr(phrases, name, None) or getattr(lies, name, ())
        return both[("first", "second").index(self.which) :: 2]

    def _drawn(self, name: str, slots: dict[str, str], rng: Random) -> tuple | None:
        """A phrasing whose slots can all be filled, filled."""
        usable = [p for p in self._of(name) if fields(p[:2]) <= set(slots)]
        if not usable:
            return None
        question, answer, *rest = rng.choice(usable)
        return question.format(**slots), answer.format(**slots), *rest

    def _true_pairs(self, context: Context, rng: Random, number: int) -> list[Pair]:
        makers = [self._object, self._count, self._side, self._text, self._colour]
        makers += [self._denied] if self._of("DENIED") else []
        harmless = lies.HARMLESS if self.which in ("first", "second") else lies.HARMLESS + self._of("HARMLESS")
        pairs: list[Pair] = []
        while len(pairs) < number:
            pair = rng.choice(makers)(context, rng, False) if rng.random() < 0.85 else rng.choice(harmless)
            if pair is not None and all(pair[0] != p[0] and pair[1] != p[1] for p in pairs):
                pairs.append(pair)
        return pairs

    def _planted(self, context: Context, kind: str, rng: Random) -> Pair | None:
        makers = {"absent object": self._object, "wrong count": self._count, "wrong colour": self._colour,
                  "wrong side": self._side, "invented text": self._text, "denied object": self._denied}  # fmt: skip
        if kind in makers:
            return makers[kind](context, rng, True)
        answers = self._of({"leak": "LEAK", "refusal": "REFUSAL", "loop": "LOOP"}[kind])
        labels = _single(context) or sorted({b.label for b in context.boxes or () if b.label})
        thing = rng.choice(labels)
        pair = self._drawn("OBJECT", _thing(thing), rng)
        return pair and (pair[0], rng.choice(answers).format(**_thing(thing)))

    def _object(self, context: Context, rng: Random, lie: bool) -> Pair | None:
        things = _foreign(context) if lie else _single(context)
        if not things:
            return None
        thing = rng.choice(things)
        return self._drawn("OBJECT", _thing(thing) | _other(context, thing), rng)

    def _denied(self, context: Context, rng: Random, lie: bool) -> Pair | None:
        large = {b.label for b in context.boxes or () if b.w * b.h >= LARGE * context.width * context.height}
        things = sorted(large & set(_single(context))) if lie else _foreign(context)
        return self._drawn("DENIED", _thing(rng.choice(things)), rng) if things else None

    def _count(self, context: Context, rng: Random, lie: bool) -> Pair | None:
        counts = Counter(b.label for b in context.boxes or () if b.label)
        usable = sorted(label for label, n in counts.items() if 2 <= n <= 8 and label not in PLURAL_ONLY | HEAPS)
        if not usable:
            return None
        label = rng.choice(usable)
        there, other = counts[label], _other(context, label)
        phrases = [p for p in self._of("COUNT") if fields(p[:2]) <= {"xs", "n", "N", "d", *other}]
        question, answer, exact = rng.choice(phrases)
        told = there
        if lie:
            wrong = [n for n in range(2, there + 4) if n != there and (exact or n > there)]
            told = rng.choice(wrong)
        number = WORDS[told]
        slots = {"xs": many(label), "n": number, "N": number.capitalize(), "d": str(told)} | other
        return question.format(**slots), answer.format(**slots)

    def _colour(self, context: Context, rng: Random, lie: bool) -> Pair | None:
        if context.vocabulary != SHAPE_LABELS:
            return None
        nouns = Counter(b.label.split(" ", 1)[1] for b in context.boxes or () if b.label)
        usable = sorted(noun for noun, n in nouns.items() if n == 1)
        if not usable:
            return None
        noun = rng.choice(usable)
        there = next(b.label for b in context.boxes or () if b.label and b.label.endswith(" " + noun)).split()[0]
        colour = rng.choice([str(c) for c in Colour if c != there]) if lie else there
        return self._drawn("COLOUR", {"noun": noun, "colour": colour, "C": colour.capitalize()}, rng)

    def _side(self, context: Context, rng: Random, lie: bool) -> Pair | None:
        known = _apart(context)
        if not known:
            return None
        x, side, y = rng.choice(known)
        told = BACK[side] if lie else side
        there, back = rng.choice(SIDES[told]), rng.choice(SIDES[BACK[told]])
        slots = {"x": x, "y": y, "side": there, "back": back, "Side": there[0].upper() + there[1:],
                 "dir": {"above": "up", "below": "down"}.get(told, told),
                 "An": article(x).capitalize(), "ay": article(y)}  # fmt: skip
        if _in_halves(context, x, side, y):
            slots |= {"edge": EDGES[told], "redge": EDGES[BACK[told]]}
        return self._drawn("SIDE", slots, rng)

    def _text(self, context: Context, rng: Random, lie: bool) -> Pair | None:
        read = [line.text for line in context.texts or ()]
        texts = [s for s in SIGNS if s not in read] if lie else read
        return self._drawn("TEXT", {"text": rng.choice(texts)}, rng) if texts else None


def fields(phrase: Sequence[str]) -> set[str]:
    return {name for text in phrase for _, name, _, _ in Formatter().parse(text) if name}


def _draft(pairs: list[Pair]) -> Draft:
    return Draft("conversation", tuple(t for q, a in pairs for t in (("user", q), ("assistant", a))))


def _thing(label: str) -> dict[str, str]:
    return {"x": label, "ax": article(label), "An": article(label).capitalize(), "xs": many(label), "X": label.title()}


def _other(context: Context, label: str) -> dict[str, str]:
    """Another single thing that is there, not of the same noun; empty where there is none."""
    noun = label.rsplit(maxsplit=1)[-1]
    others = [o for o in _single(context) if noun not in o.split() and o.split()[-1] not in label.split()]
    if not others:
        return {}
    other = Random(f"other:{context.sample_id}:{label}").choice(others)
    return {"y": other, "ay": article(other), "An_y": article(other).capitalize()}


def article(label: str) -> str:
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def many(label: str) -> str:
    head, _, last = label.rpartition(" ")
    word = PLURALS.get(last) or (last + "es" if last.endswith(("s", "x", "ch", "sh")) else last + "s")
    return f"{head} {word}".strip()


def _single(context: Context) -> list[str]:
    counts = Counter(b.label for b in context.boxes or () if b.label)
    return sorted(label for label, n in counts.items() if n == 1 and label not in PLURAL_ONLY)


def _foreign(context: Context) -> list[str]:
    """Labels of which nothing is there: for shapes, in no colour."""
    last = {b.label.split()[-1] for b in context.boxes or () if b.label}
    spoken = " ".join(context.captions).lower()
    return sorted(
        label for label in context.vocabulary - PLURAL_ONLY if label.split()[-1] not in last and label not in spoken
    )


def _apart(context: Context) -> list[tuple[str, str, str]]:
    """(x, side, y) of single things whose boxes stand wholly apart, by a rule of its own."""
    boxes = {label: next(b for b in context.boxes or () if b.label == label) for label in _single(context)}
    found = []
    for x, a in boxes.items():
        for y, b in boxes.items():
            if x != y and a.x + a.w <= b.x:
                found += [(x, "left", y), (y, "right", x)]
            if x != y and a.y + a.h <= b.y:
                found += [(x, "above", y), (y, "below", x)]
    return found


def _in_halves(context: Context, x: str, side: str, y: str) -> bool:
    """Whether x and y lie wholly in opposite halves of the picture."""
    first, second = (x, y) if side in ("left", "above") else (y, x)
    a, b = (next(box for box in context.boxes or () if box.label == label) for label in (first, second))
    if side in ("left", "right"):
        return a.x + a.w <= context.width / 2 <= b.x
    return a.y + a.h <= context.height / 2 <= b.y
