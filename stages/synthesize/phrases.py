"""How the template teacher says things in English: several wordings each, drawn by the caller's rng.

Objects enter as labels in their written form; `negatives` and `template` decide what is true before anything is said.
"""

from collections.abc import Sequence
from random import Random

from stages.synthesize.relations import Relation
from stages.synthesize.words import Number, a, counted, number, plural, sentence, the, verb

_WHETHER = ("{Is} there {a} in the picture?", "{Is} there {a} in this image?", "Can you see {a} in the picture?",
            "Does the picture show {a}?")  # fmt: skip
_HOW_MANY = ("How many {many} are there in the picture?", "How many {many} are there?",
             "How many {many} can you see in the picture?", "What is the number of {many} in the image?")  # fmt: skip
_COLOUR = ("What color is {the}?", "What is the color of {the}?", "Which color does {the} have?")
_CHOOSE = ("Which of these is in the picture: {first} or {second}?", "Does the picture show {first} or {second}?",
           "Which one can be seen in the image, {first} or {second}?")  # fmt: skip
_WHERE = ("Where {is} {a} relative to {b}?", "Where in the picture {is} {a} in relation to {b}?",
          "Compared with {b}, where in the picture {is} {a}?")  # fmt: skip
_FLAT = {Relation.left_of: "to the left of", Relation.right_of: "to the right of"}
_STACKED = {Relation.above: "above", Relation.below: "below"}
_HIGHER = {Relation.above: "higher in the picture", Relation.below: "lower in the picture"}


def whether(label: str, rng: Random) -> str:
    """Is there a dog …? Are there any flowers …? Is there any water …?"""
    kind = number(label)
    some = f"any{a(label).removeprefix('some')}" if kind in (Number.mass, Number.plural) else a(label)
    return rng.choice(_WHETHER).format(Is="Are" if kind is Number.plural else "Is", a=some)


def yes(label: str, several: bool, rng: Random) -> str:
    """`several`: two or more are surely there."""
    kind = number(label)
    if several and kind in (Number.single, Number.pair):
        return rng.choice(("Yes.", f"Yes, there are {plural(label)}."))
    return rng.choice(("Yes.", f"Yes, there {'are' if kind is Number.plural else 'is'} {_some(label)}."))


def no(label: str, rng: Random) -> str:
    kind = number(label)
    none = [f"No, there is no {_bare(label)}."] if kind in (Number.single, Number.mass) else []
    if kind is not Number.mass:
        none.append(f"No, there are no {plural(label) if kind is Number.single else _bare(label)}.")
    return rng.choice(("No.", rng.choice(none)))


def how_many(label: str, rng: Random) -> str:
    return rng.choice(_HOW_MANY).format(many=plural(label))


def there_are(label: str, count: int, rng: Random) -> str:
    """One. / There is one dog. / There are no dogs."""
    if count == 0:
        return rng.choice(("None.", f"There are no {plural(label)}."))
    noun = f"one {a(label).partition(' ')[2]}" if count == 1 else f"{counted(count)} {plural(label)}"
    return rng.choice((sentence(counted(count)), f"There {'is' if count == 1 else 'are'} {noun}."))


def what_colour(noun: str, rng: Random) -> str:
    return rng.choice(_COLOUR).format(the=the(noun))


def which(labels: Sequence[str], rng: Random) -> str:
    """A choice between two; the order of `labels` is the order asked."""
    first, second = (a(label) for label in labels)
    return rng.choice(_CHOOSE).format(first=first, second=second)


def where(one: str, other: str, rng: Random) -> str:
    return rng.choice(_WHERE).format(**{"is": verb(one)}, a=the(one), b=the(other))


def is_it(one: str, side: Relation, other: str, stacked: bool) -> str:
    """Is the dog to the left of the cat? `stacked`: "above" may be said; else it is "higher in the picture than"."""
    return f"{verb(one).capitalize()} {the(one)} {_side(side, stacked)} {the(other)}{_plane(side, stacked)}?"


def left_or_right(one: str, sides: tuple[Relation, Relation], other: str) -> str:
    """Is the dog to the left or to the right of the cat?"""
    if sides[0] in _FLAT:
        first = _FLAT[sides[0]].removesuffix(" of")
        return f"{verb(one).capitalize()} {the(one)} {first} or {_FLAT[sides[1]]} {the(other)}?"
    first, second = (_HIGHER[side].split()[0] for side in sides)
    return f"{verb(one).capitalize()} {the(one)} {first} or {second} in the picture than {the(other)}?"


def lies(one: str, sides: Sequence[Relation], other: str, stacked: bool) -> str:
    """The dog is to the left of the cat and higher in the picture. `sides`: one, or one of each axis."""
    text = f"{the(one)} {verb(one)} {_side(sides[0], stacked)} {the(other)}"
    if len(sides) > 1:
        them = "it" if verb(other) == "is" else "them"
        text += f" and {_STACKED[sides[1]]} {them}" if stacked else f" and {_HIGHER[sides[1]]}"
    return sentence(text)


def _side(side: Relation, stacked: bool) -> str:
    if side in _FLAT:
        return _FLAT[side]
    return _STACKED[side] if stacked else f"{_HIGHER[side]} than"


def _plane(side: Relation, stacked: bool) -> str:
    """Sides are the picture's: say so unless the words do."""
    return " in the picture" if side in _FLAT or stacked else ""


def _some(label: str) -> str:
    """After "there is": a dog, a pair of scissors, water, flowers."""
    return a(label).removeprefix("some ")


def _bare(label: str) -> str:
    """After "no": dog, scissors, water, flowers."""
    kind = number(label)
    return the(label).removeprefix("the ") if kind is not Number.single else a(label).partition(" ")[2]
