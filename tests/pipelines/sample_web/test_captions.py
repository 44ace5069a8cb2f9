"""Captions state what is in the picture; hard negatives state one thing that is not."""

from random import Random

import pytest

from pipelines.sample_web.captions import COLOUR_WORDS, COUNT_WORDS, SHAPE_WORDS, sentence
from pipelines.sample_web.claims import Claims, HardKind, holds, make_claims, spoil
from pipelines.sample_web.scenes import Group, Scene, make_scene

SCENES = [make_scene(s) for s in range(800_000, 800_150)]


def _read(text: str, coloured: bool = True) -> dict[tuple[str, str], int]:
    """Understand a caption without the writer: {(colour, shape): count} from its words alone."""
    counts = {w.split()[-1]: n for n, words in COUNT_WORDS.items() for w in words if w != "a pair of"} | {"an": 1}
    colours = {w: str(c) for c, words in COLOUR_WORDS.items() for w in words}
    nouns = {n.split()[0]: str(s) for s, words in SHAPE_WORDS.items() for pair in words for n in pair}
    found, count, colour = {}, None, ""
    words = text.lower().replace(",", " ").replace(".", " ").replace("five-pointed ", "").split()
    for i, word in enumerate(words):
        if word == "pair" and words[i + 1] == "of":
            count = 2
        elif word in counts:
            count = counts[word]
        elif word in colours:
            colour = colours[word]
        elif word.strip("!:") in nouns and count is not None and (colour or not coloured):
            found[(colour, nouns[word.strip("!:")])] = count
            count, colour = None, ""
    return found


@pytest.mark.parametrize("index", range(150))
def test_a_caption_says_what_the_scene_holds(index: int):
    scene = SCENES[index]
    claims = make_claims(scene, Random(index))
    assert holds(claims, scene)
    truth = {(str(g.colour), str(g.shape)): g.count for g in scene.groups()}
    assert _read(sentence(claims, index)) == truth


@pytest.mark.parametrize("kind", list(HardKind))
def test_a_hard_negative_is_false_in_its_one_way(kind: HardKind):
    made = 0
    for index, scene in enumerate(SCENES):
        claims = make_claims(scene, Random(index))
        wrong = spoil(claims, scene, kind, Random(index))
        if wrong is None:
            continue
        made += 1
        truth, told = _read(sentence(claims, index)), _read(sentence(wrong, index))
        assert told != truth
        assert _is_only(kind, truth, told), (kind, truth, told)
    assert made > 50


def _is_only(kind: HardKind, truth: dict, told: dict) -> bool:
    """Whether `told` differs from `truth` as the kind says and in nothing else."""
    gone, new = sorted(truth.items() - told.items()), sorted(told.items() - truth.items())
    if kind is HardKind.exchanged:
        return (
            len(gone) == len(new) == 2
            and sorted(c for (c, _), _ in gone) == sorted(c for (c, _), _ in new)
            and sorted((s, n) for (_, s), n in gone) == sorted((s, n) for (_, s), n in new)
        )
    ((colour, shape), count), ((colour2, shape2), count2) = gone[0], new[0]
    changed = {
        HardKind.wrong_colour: (colour != colour2, shape == shape2, count == count2),
        HardKind.wrong_object: (colour == colour2, shape != shape2, count == count2),
        HardKind.wrong_count: (colour == colour2, shape == shape2, count != count2),
    }
    return len(gone) == len(new) == 1 and all(changed[kind])


def test_grey_captions_name_no_colour_and_merge_equal_shapes():
    words = {w for ws in COLOUR_WORDS.values() for w in ws} - {"black", "white"}
    for index, scene in enumerate(SCENES):
        claims = make_claims(scene, Random(index), coloured=False)
        assert holds(claims, scene)
        text = sentence(claims, index)
        assert not words & set(text.lower().split())
        shapes = [o.shape for o in scene.objects]
        assert _read(text, coloured=False) == {("", str(s)): shapes.count(s) for s in set(shapes)}


def test_a_statement_too_many_does_not_hold():
    scene: Scene = SCENES[0]
    group = scene.groups()[0]
    claims = Claims((Group(group.count + 1, group.colour, group.shape, None),))
    assert not holds(claims, scene)


def test_captions_vary():
    scene = SCENES[1]
    texts = {sentence(make_claims(scene, Random(i)), i) for i in range(60)}
    assert len(texts) > 50
