"""GrabCut from boxes: how well it cuts, and what it does with odd boxes."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.masks_config import GrabcutConfig
from stages.masks.grabcut import clipped, grabcut

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
HELD_OUT = range(1_000_000, 1_000_008)


def disc(width: int, height: int, centre: tuple[float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on grey noise, and its mask."""
    rng = np.random.default_rng(3)
    rgb = rng.integers(90, 120, (height, width, 3), np.uint8)
    rows, columns = np.ogrid[:height, :width]
    mask = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2
    rgb[mask] = rng.integers((200, 30, 30), (220, 50, 50), (int(mask.sum()), 3)).astype(np.uint8)
    return rgb, mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_objects_of_held_out_scenes_are_cut() -> None:
    scores = []
    for seed in HELD_OUT:
        scene = make_scene(seed)
        found = grabcut(render(scene), scene.boxes())
        scores += [iou(mask, truth) for mask, truth in zip(found, scene.masks(), strict=True)]
    assert len(scores) > 15
    assert np.mean(scores) >= 0.85


def test_a_mask_lies_in_its_box_and_has_the_pictures_size() -> None:
    rgb, truth = disc(90, 60, (50, 30), 20)
    (mask,) = grabcut(rgb, [(30.4, 12.5, 39.3, 35.1)])
    assert mask.shape == (60, 90)
    assert mask.dtype == np.bool_
    assert not mask[:, :30].any()
    assert not mask[:, 70:].any()
    assert not mask[:12].any()
    assert not mask[48:].any()
    assert iou(mask[12:48, 30:70], truth[12:48, 30:70]) > 0.9


@pytest.mark.parametrize("box", [(-50, -50, 20, 20), (100, 0, 5, 5), (0, 60, 9, 9), (5, 5, 0, 9), (5, 5, 9, -3)])
def test_a_box_without_pixels_has_an_empty_mask(box: tuple[float, ...]) -> None:
    rgb, _ = disc(90, 60, (50, 30), 20)
    (mask,) = grabcut(rgb, [box])
    assert not mask.any()


def test_a_box_that_sticks_out_is_cut_in_the_picture() -> None:
    rgb, truth = disc(90, 60, (0, 0), 30)
    (mask,) = grabcut(rgb, [(-31, -31, 62, 62)])
    assert iou(mask, truth) > 0.9


@pytest.mark.parametrize("box", [(10, 10, 1, 1), (10, 10, 0.2, 0.2), (0, 20, 90, 2)])
def test_a_box_too_thin_to_be_cut_is_its_own_mask(box: tuple[float, ...]) -> None:
    rgb, _ = disc(90, 60, (50, 30), 20)
    (mask,) = grabcut(rgb, [box])
    left, top, right, bottom = clipped(box, 90, 60)
    assert mask[top:bottom, left:right].all()
    assert mask.sum() == (right - left) * (bottom - top)


def test_a_box_of_the_whole_picture_finds_the_thing_in_it() -> None:
    rgb, truth = disc(90, 60, (45, 30), 20)
    (mask,) = grabcut(rgb, [(0, 0, 90, 60)])
    assert iou(mask, truth) > 0.9


def test_a_thing_like_its_surroundings_is_cut_around_the_middle_of_its_box() -> None:
    """Both boxes see one colour, so the first cut is left with next to nothing."""
    rgb = np.full((40, 50, 3), 7, np.uint8)
    for x, y, w, h in [(10, 10, 20, 20), (0, 0, 50, 40)]:
        (mask,) = grabcut(rgb, [(x, y, w, h)])
        assert mask[y + h // 2, x + w // 2]
        assert mask.sum() >= 0.2 * w * h


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (3, 3)])
def test_the_smallest_pictures(shape: tuple[int, int]) -> None:
    (mask,) = grabcut(np.zeros((*shape, 3), np.uint8), [(0, 0, shape[1], shape[0])])
    assert mask.shape == shape


def test_overlapping_boxes_do_not_disturb_each_other() -> None:
    rgb, _ = disc(120, 80, (50, 40), 25)
    boxes = [(20, 10, 60, 60), (40, 20, 60, 50), (25, 15, 50, 50)]
    together = grabcut(rgb, boxes)
    alone = [grabcut(rgb, [box])[0] for box in reversed(boxes)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_the_number_of_threads_and_the_seed_left_behind_decide_nothing() -> None:
    import cv2

    scene = make_scene(HELD_OUT[0])
    rgb, before = render(scene), cv2.getNumThreads()
    found = []
    try:
        for threads, seed in ((1, 5), (2, 6), (2, 7)):
            cv2.setNumThreads(threads)
            cv2.setRNGSeed(seed)
            found.append(np.stack(grabcut(rgb, scene.boxes())))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_a_huge_picture_is_cut_at_the_capped_size(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    sizes: list[tuple[int, ...]] = []
    original = cv2.grabCut

    def spy(image: np.ndarray, *rest: object) -> object:
        sizes.append(image.shape)
        return original(image, *rest)

    monkeypatch.setattr(cv2, "grabCut", spy)
    rgb, truth = disc(3000, 1600, (1500, 800), 700)
    (mask,) = grabcut(rgb, [(800, 100, 1400, 1400)], GrabcutConfig(side=128))
    assert {max(size) for size in sizes} == {128}
    assert iou(mask, truth) > 0.95


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_only_rgb_pictures_are_cut(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        grabcut(picture, [(0, 0, 1, 1)])


@pytest.mark.parametrize("box", [(float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)])
def test_a_box_is_finite(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="four finite numbers"):
        grabcut(np.zeros((4, 4, 3), np.uint8), [box])


@pytest.mark.skipif(not (DATA / "photos.parquet").exists(), reason="real photographs (../shared/data) are not here")
def test_real_photographs_are_cut_better_than_by_their_boxes() -> None:
    from tests.stages.masks.photos import polygons

    cut, boxes = [], []
    for rgb, box, truth in polygons(DATA, pictures=4, each=1):
        (mask,) = grabcut(rgb, [box])
        whole = np.zeros_like(truth)
        left, top, right, bottom = clipped(box, truth.shape[1], truth.shape[0])
        whole[top:bottom, left:right] = True
        cut.append(iou(mask, truth))
        boxes.append(iou(whole, truth))
    assert np.mean(cut) > np.mean(boxes)
