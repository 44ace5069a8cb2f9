"""Labels of masks by CLIP over their crops, with the small CLIP of the sample web and scenes it was not trained on."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.shapes import Colour
from schemas.masks_config import LabelConfig
from schemas.recipe import ClipConfig
from stages.masks.backend import Found, tight
from stages.masks.labels import CropJudge, crop
from stages.measure.clip import ClipMeasure

CLIP = Path("pipelines/sample_web/clip")
WORDS = ["turquoise heart", "blue square", "red star"]
WORDS += [f"{c} {s}" for c in list(Colour)[:6] for s in ("circle", "triangle", "ring", "diamond")]
WORDS += ["pink triangle", "pink circle"]
SCENES = 5


class Seen(NamedTuple):
    pictures: list[np.ndarray]
    found: list[list[Found]]
    labels: list[list[str]]


@pytest.fixture(scope="module")
def clip() -> Iterator[ClipMeasure]:
    made = ClipMeasure(ClipConfig(model=f"local-dir:{CLIP}", batch_size=16))
    made.open()
    yield made
    made.close()


def _found(mask: np.ndarray) -> Found:
    boxed = tight(mask)
    assert boxed is not None
    return Found(*boxed)


@pytest.fixture(scope="module")
def seen() -> Seen:
    scenes = [make_scene(seed) for seed in range(30_900_000, 30_900_000 + SCENES)]
    return Seen(
        [render(scene) for scene in scenes],
        [[_found(mask) for mask in scene.masks()] for scene in scenes],
        [[one.label for one in scene.objects] for scene in scenes],
    )


def test_a_list_of_words_labels_what_is_there(clip: ClipMeasure, seen: Seen) -> None:
    judge = CropJudge(clip, LabelConfig(vocabulary=WORDS), clip_measure=False)
    labels, fits = judge.judge(seen.pictures, seen.found, [[None]] * SCENES)
    said = [
        (label, true)
        for given, truth in zip(labels, seen.labels, strict=True)
        for label, true in zip(given, truth, strict=True)
    ]
    assert len(said) > 15
    assert np.mean([label == true for (label, _), true in said]) > 0.9
    assert all(score is not None and score > 0.5 for (_, score), _ in said)
    assert fits == [None] * SCENES


def test_labels_come_from_the_samples_own_captions(clip: ClipMeasure, seen: Seen) -> None:
    captions = [[None, *(f"a picture of a small {label}" for label in truth)] for truth in seen.labels]
    labels, _ = CropJudge(clip, LabelConfig(), clip_measure=False).judge(seen.pictures, seen.found, captions)
    assert [[label for label, _ in given] for given in labels] == seen.labels


def test_under_the_least_cosine_there_is_no_label(clip: ClipMeasure, seen: Seen) -> None:
    judge = CropJudge(clip, LabelConfig(vocabulary=WORDS), clip_measure=False)
    (first,), _ = judge.judge(seen.pictures[:1], seen.found[:1], [[]])
    scores = sorted(score for _, score in first if score is not None)
    assert len(scores) > 1
    least = LabelConfig(vocabulary=WORDS, least=(scores[0] + scores[1]) / 2)
    (kept,), _ = CropJudge(clip, least, clip_measure=False).judge(seen.pictures[:1], seen.found[:1], [[]])
    assert kept == [one if one[1] != scores[0] else (None, None) for one in first]


def test_mask_clip_is_higher_for_what_the_caption_names(clip: ClipMeasure, seen: Seen) -> None:
    judge = CropJudge(clip, None, clip_measure=True)
    alone = [[masks[0]] for masks in seen.found]
    right = [[f"a {labels[0]}"] for labels in seen.labels]
    labels, fits = judge.judge(seen.pictures, alone, right)
    wrong = judge.judge(seen.pictures, alone, right[1:] + right[:1])[1]
    assert labels == [[(None, None)]] * SCENES
    assert np.mean([a > b for a, b in zip(fits, wrong, strict=True) if a is not None and b is not None]) > 0.8
    assert judge.judge(seen.pictures[:1], seen.found[:1], right[:1])[1][0] >= fits[0]  # type: ignore[operator]


def test_what_cannot_be_judged_is_not(clip: ClipMeasure, seen: Seen) -> None:
    one = seen.found[0][0]
    found: list[list[Found]] = [[], [one], [one]]
    labels, fits = CropJudge(clip, LabelConfig(), clip_measure=True).judge(
        [seen.pictures[0]] * 3, found, [["a red circle"], [None], []]
    )
    assert labels == [[], [(None, None)], [(None, None)]]
    assert fits == [None, None, None]


def test_only_the_best_of_a_prompt_are_judged(clip: ClipMeasure, seen: Seen) -> None:
    one = seen.found[0][0]
    lesser = Found(one.box, one.pixels, best=False)
    ((first, second),), _ = CropJudge(clip, LabelConfig(vocabulary=WORDS), False).judge(
        seen.pictures[:1], [[lesser, one]], [[]]
    )
    assert first == (None, None)
    assert second[0] == seen.labels[0][0]


def test_what_was_judged_before_decides_nothing(clip: ClipMeasure, seen: Seen) -> None:
    judge = CropJudge(clip, LabelConfig(vocabulary=WORDS), clip_measure=True)
    captions = [["a red circle"]] * 3
    once = judge.judge(seen.pictures[:3], seen.found[:3], captions)
    judge.judge(seen.pictures[3:], seen.found[3:], captions[1:])
    assert judge.judge(seen.pictures[:3], seen.found[:3], captions) == once


def test_a_crop_shows_the_mask_alone() -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    picture[10:20, 20:40] = 200
    picture[12:14, 22:24] = 10  # in the box, not in the mask
    mask = (picture == 200).all(2)
    made = crop(picture, _found(mask), 0.5)
    assert made.shape == (40, 40, 3)
    shown = (made == 200).all(2)
    assert (shown[15:25, 10:30] == mask[10:20, 20:40]).all()
    assert shown.sum() == mask.sum()
    assert (made[~shown] == (123, 117, 104)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2)])
def test_crops_of_tiny_and_long_masks(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 7, np.uint8)
    made = crop(picture, Found((0, 0, shape[1], shape[0]), np.ones(shape, np.bool_)), 1.0)
    assert made.shape == ((3, 3, 3) if shape == (1, 1) else (513, 513, 3))
    assert (made == 7).all(2).any() and (made == (123, 117, 104)).all(2).any()


def test_a_crop_of_a_huge_mask_is_bounded() -> None:
    mask = np.ones((3000, 4000), np.bool_)
    mask[0] = False
    made = crop(np.zeros((3000, 4000, 3), np.uint8), _found(mask), 1.0)
    assert made.shape == (513, 513, 3)
