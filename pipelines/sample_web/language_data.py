"""What the small language model is trained on: captions of scenes, and the template teacher's conversations about them.

Where a picture will stand, a document says what is in the scene, as a list in words or as a board of sums of words'
embeddings (`board`). Notes (`lookups`) ask for one thing each. Scenes are training scenes (`clip_data.TRAIN_SEED`) that
no tower has seen.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import make_claims
from pipelines.sample_web.scenes import Scene, make_scene
from pipelines.sample_web.shapes import DIAMETER, Colour, Shape, Size, extent
from schemas.sample import Box
from schemas.synthesize import TemplateConfig
from stages.synthesize.context import Context
from stages.synthesize.negatives import Statistics
from stages.synthesize.template import write

SCENES = 10_100_000
"""Seeds from here on."""
STATISTICS = range(10_000_000, 10_003_000)
"""Scenes whose labels are counted, for absent ones that are popular or like what is there."""
SIDE = 8
"""Squares of the board, each way."""
COLUMNS, LINES = "ABCDEFGH", "12345678"
VOCABULARY = frozenset(f"{colour} {shape}" for colour in Colour for shape in Shape)
WORDS = (
    *(f" {colour}" for colour in Colour), *(f" {shape}" for shape in Shape), " small", " medium", " large", *COLUMNS,
    *LINES, " background",
)  # fmt: skip
"""Whose embeddings a square of the board adds up."""
_COLOURS, _SHAPES = {c: i for i, c in enumerate(Colour)}, {s: i for i, s in enumerate(Shape)}
_SHAPE, _SIZE, _COLUMN, _LINE, _GROUND = 10, 20, 23, 31, 39
_NAMES = [str(c) for c in Colour], [str(s) for s in Shape]
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
_APART = 0.08
"""Share of the side from which on one object is called left of, or above, another in a note."""
_MIDDLES = [sum(DIAMETER[size]) / 2 for size in Size]


Objects = tuple[tuple[int, int, float, float, float], ...]
"""Of each: index of colour and shape; centre x and y as shares of the sides; diameter as a share of the shorter one."""


@dataclass(frozen=True, slots=True)
class Document:
    """Texts about one scene."""

    seed: int
    caption: str
    talks: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """(kind, its questions and answers), by the template teacher."""
    listed: str
    """All objects in words."""
    objects: Objects


def statistics() -> Statistics:
    return Statistics.of([o.label for o in make_scene(seed).objects] for seed in STATISTICS)


def document(seed: int, known: Statistics) -> Document:
    scene, rng = make_scene(seed), Random(f"language:{seed}")
    drafts = write(context(scene), TemplateConfig(), known)
    talks = [(d.kind, [text for _, text in d.turns]) for d in drafts]
    side = min(scene.width, scene.height)
    objects = [
        (_COLOURS[o.colour], _SHAPES[o.shape], o.cx / scene.width, o.cy / scene.height, 2 * o.radius / side)
        for o in scene.objects
    ]
    return Document(
        seed,
        sentence(make_claims(scene, rng), rng.getrandbits(48)),
        tuple((kind, tuple(zip(said[::2], said[1::2], strict=True))) for kind, said in talks),
        listing(scene),
        tuple(objects),
    )


def documents(start: int, count: int) -> list[Document]:
    """Of the scenes from seed `start`."""
    known = statistics()
    return [document(seed, known) for seed in range(start, start + count)]


def context(scene: Scene) -> Context:
    """What the template teacher is told: a box for every object, and that there are no others."""
    outlines = [(o, extent(o.contours())) for o in scene.objects]
    boxes = [Box(label=o.label, x=x, y=y, w=right - x, h=bottom - y) for o, (x, y, right, bottom) in outlines]
    return Context(f"scene{scene.seed}", scene.width, scene.height, boxes=tuple(boxes), vocabulary=VOCABULARY)


def listing(scene: Scene) -> str:
    """All objects, line by line: "large red circle C 4; small blue star F 7."."""
    found = [(int(o.cy / scene.height * SIDE), int(o.cx / scene.width * SIDE), o) for o in scene.objects]
    found.sort(key=lambda one: one[:2])
    return "; ".join(f"{o.size} {o.label} {COLUMNS[column]} {line + 1}" for line, column, o in found) + "."


def board(objects: Objects, smear: float = 0.0, band: float = 0.0) -> np.ndarray:
    """How much of each of WORDS is on each square, row by row: float32 (SIDE², words).

    An object is on the square of its centre, with its place and size between two words where it is between; `smear` of
    it is on the other squares that it covers, and nothing says that it is the same one. With its centre within `band`
    squares of a border, it is shared with the square beyond, half and half on the border, as a tower sees it.
    """
    squares = np.zeros((SIDE * SIDE, len(WORDS)), np.float32)
    at = np.arange(SIDE * SIDE)
    squares[at, _COLUMN + at % SIDE] = 1
    squares[at, _LINE + at // SIDE] = 1
    squares[:, _GROUND] = 1
    if smear:
        for colour, shape, x, y, diameter in objects:
            near = _near(x, y, diameter / 2)
            squares[near, colour] += smear
            squares[near, _SHAPE + shape] += smear
            squares[near, _GROUND] *= 0.7
    for colour, shape, x, y, diameter in objects:
        row = np.zeros(len(WORDS), np.float32)
        row[colour] = row[_SHAPE + shape] = 1
        row[_COLUMN:_LINE] = between(x * SIDE - 0.5, SIDE)
        row[_LINE:_GROUND] = between(y * SIDE - 0.5, SIDE)
        row[_SIZE:_COLUMN] = between(float(np.interp(diameter, _MIDDLES, range(3))), 3)
        for line, down in shared(y, band):
            for column, across in shared(x, band):
                squares[line * SIDE + column] *= 1 - down * across
                squares[line * SIDE + column] += down * across * row
    return squares


def shared(place: float, band: float) -> list[tuple[int, float]]:
    """The lines or columns of the board to which a centre belongs, and how much to each; `place` as a share of the
    side."""
    own = min(int(place * SIDE), SIDE - 1)
    inside = place * SIDE - own
    beyond, part = (own - 1, band - inside) if inside < 0.5 else (own + 1, inside - (1 - band))
    if part <= 0 or not 0 <= beyond < SIDE:
        return [(own, 1.0)]
    return [(own, 1 - part / (2 * band)), (beyond, part / (2 * band))]


def square(x: float, y: float) -> int:
    """The square in which a place lies."""
    return min(int(y * SIDE), SIDE - 1) * SIDE + min(int(x * SIDE), SIDE - 1)


def between(value: float, many: int) -> np.ndarray:
    """Weights of the two of `many` words between which a value lies: float32 (many,), sum 1."""
    place = min(max(value, 0.0), many - 1 - 1e-6)
    weights = np.zeros(many, np.float32)
    weights[int(place) : int(place) + 2] = 1 - place % 1, place % 1
    return weights


def _near(x: float, y: float, radius: float) -> list[int]:
    """Squares that a circle's box covers."""
    lines, columns = (
        range(max(0, int((v - radius) * SIDE)), min(SIDE - 1, int((v + radius) * SIDE)) + 1) for v in (y, x)
    )
    return [line * SIDE + column for line in lines for column in columns]


def lookups(objects: Objects, rng: Random, many: int) -> list[tuple[str, str]]:
    """Notes, each a few words and what the scene says to them: how many (" red star:", " two"), which colour (" star?",
    " red"), which square (" red star@", "C4"), which side (" red star<blue ring", " left"; "^": " above").

    None twice: what was said once could be said again without another look. At most `many`, of as many drawn twice.
    """
    found: dict[str, str] = {}
    for _ in range(2 * many):
        note = rng.choice(_NOTES)(objects, rng)
        if note and len(found) < many:
            found.setdefault(*note)
    return list(found.items())


def _how_many(objects: Objects, rng: Random) -> tuple[str, str]:
    """Of a kind, or of a shape; of what is not there, half has the colour or the shape of something that is."""
    colour, shape = rng.choice(objects)[:2]
    drawn = rng.random()
    if drawn < 0.3:
        shape = shape if drawn < 0.21 else rng.randrange(len(Shape))
        return f" {_NAMES[1][shape]}:", f" {COUNTS[sum(o[1] == shape for o in objects)]}"
    if drawn > 0.65:
        colour = colour if drawn < 0.74 else rng.randrange(len(Colour))
        shape = shape if 0.74 < drawn < 0.83 else rng.randrange(len(Shape))
    return f" {_kind(colour, shape)}:", f" {COUNTS[sum(o[:2] == (colour, shape) for o in objects)]}"


def _which_colour(objects: Objects, rng: Random) -> tuple[str, str] | None:
    colour, shape = rng.choice(objects)[:2]
    alone = all(o[0] == colour for o in objects if o[1] == shape)
    return (f" {_NAMES[1][shape]}?", f" {_NAMES[0][colour]}") if alone else None


def _which_square(objects: Objects, rng: Random) -> tuple[str, str] | None:
    found = _alone(objects)
    if not found:
        return None
    one = rng.choice(found)
    line, column = divmod(square(one[2], one[3]), SIDE)
    return f" {_kind(*one[:2])}@", f"{COLUMNS[column]}{LINES[line]}"


def _which_side(objects: Objects, rng: Random) -> tuple[str, str] | None:
    """Between objects that are the only ones of their kind, and apart along the axis."""
    alone = _alone(objects)
    if len(alone) < 2:
        return None
    one, other = rng.sample(alone, 2)
    axis = rng.randrange(2)
    apart = one[2 + axis] - other[2 + axis]
    words = ((" left", " right"), (" above", " below"))[axis]
    asked = f" {_kind(*one[:2])}{'<^'[axis]} {_kind(*other[:2])}:"
    return (asked, words[apart > 0]) if abs(apart) > _APART else None


_NOTES = (_how_many, _how_many, _how_many, _which_colour, _which_square, _which_side, _which_side, _which_side)


def _alone(objects: Objects) -> list[Any]:
    kinds = [o[:2] for o in objects]
    return [o for o in objects if kinds.count(o[:2]) == 1]


def _kind(colour: int, shape: int) -> str:
    return f"{_NAMES[0][colour]} {_NAMES[1][shape]}"


def texts(found: list[Document]) -> list[str]:
    """What the tokenizer is trained on: all words, and often what ChatML and the board are made of."""
    marks = ["<|im_start|>user\n", "<|im_start|>assistant\n", "user\n", "assistant\n", "system\n"]
    out = [mark for mark in marks for _ in range(3_000)]
    out += [word for word in WORDS for _ in range(2_000)]
    for one in found:
        out += [one.caption, one.listed]
        out += [text for _, turns in one.talks for pair in turns for text in pair]
    return out


def token_ids(tokenizer: Any) -> list[int]:
    """Of WORDS; each is one token."""
    found = [tokenizer(word, add_special_tokens=False).input_ids for word in WORDS]
    if any(len(ids) != 1 for ids in found):
        raise AssertionError(f"no token of its own: {[w for w, ids in zip(WORDS, found, strict=True) if len(ids) > 1]}")
    return [ids[0] for ids in found]
