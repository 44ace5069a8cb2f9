"""Scenes and pictures: the same seed, the same bytes; and what is stated of a picture is in its pixels."""

import json

import numpy as np
import pytest

from pipelines.sample_web.payloads import Payload, encode
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import MAX_OBJECTS, Relation, make_scene
from pipelines.sample_web.shapes import PALETTE, Shape, outline, placed, rasterise

SEEDS = range(700_000, 700_040)


def test_a_seed_gives_the_same_scene_and_bytes_and_another_seed_others():
    assert make_scene(5) == make_scene(5)
    assert encode(Payload(5)) == encode(Payload(5))
    assert make_scene(5) != make_scene(6)
    assert encode(Payload(5)) != encode(Payload(6))


@pytest.mark.parametrize("shape", list(Shape))
def test_a_mask_has_the_area_of_its_outline(shape: Shape):
    contours = placed(shape, (50.0, 50.0), 0.0, (80.0, 80.0))
    areas = [abs(_shoelace(c)) for c in contours]
    wanted = areas[0] - sum(areas[1:])
    assert rasterise(contours).coverage.sum() == pytest.approx(wanted, rel=0.03)


def _shoelace(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def test_the_ten_shapes_are_ten_different_figures():
    masks = []
    for shape in Shape:
        frame = np.zeros((120, 120), bool)
        patch = rasterise([c * 45 + 60 for c in outline(shape)])
        rows, columns = patch.coverage.shape
        frame[patch.y : patch.y + rows, patch.x : patch.x + columns] = patch.coverage >= 0.5
        masks.append(frame)
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert (a & b).sum() / (a | b).sum() < 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_are_the_tight_boxes_of_the_visible_masks(seed: int):
    scene = make_scene(seed)
    masks = scene.masks()
    assert (masks.sum(axis=0) <= 1).all()  # a pixel belongs to one object at most
    for mask, box in zip(masks, scene.boxes(), strict=True):
        inside = mask[box.y : box.y + box.h, box.x : box.x + box.w]
        assert inside.sum() == mask.sum() > 0
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_under_a_mask_lies_the_colour_that_is_stated(seed: int):
    import cv2

    scene = make_scene(seed)
    picture = render(scene)
    for item, mask in zip(scene.objects, scene.masks(), strict=True):
        core = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        if core.sum() < 30:
            core = mask
        found = np.median(picture[core], axis=0)
        distances = {colour: np.abs(found - rgb).sum() for colour, rgb in PALETTE.items()}
        assert min(distances, key=distances.__getitem__) is item.colour


def test_the_later_object_hides_the_earlier_one():
    overlapping = [s for s in map(make_scene, range(400)) if s.masks().sum() < sum(_full(s))]
    assert overlapping, "no scene in 400 has overlapping objects"
    for scene in overlapping[:5]:
        last = scene.masks()[-1].sum()
        assert last == _full(scene)[-1]


def _full(scene) -> list[int]:
    return [int((rasterise(o.contours()).coverage >= 0.5).sum()) for o in scene.objects]


@pytest.mark.parametrize("seed", SEEDS)
def test_relations_agree_with_the_masks(seed: int):
    scene = make_scene(seed)
    masks = [rasterise(o.contours()) for o in scene.objects]
    for i, relation, j in scene.relations():
        a, b = masks[i], masks[j]
        ax, ay = a.x + a.coverage.shape[1] / 2, a.y + a.coverage.shape[0] / 2
        bx, by = b.x + b.coverage.shape[1] / 2, b.y + b.coverage.shape[0] / 2
        sides = {
            Relation.left_of: ax < bx, Relation.right_of: ax > bx, Relation.above: ay < by, Relation.below: ay > by,
        }  # fmt: skip
        assert sides[relation]
        assert (j, _opposite(relation), i) in scene.relations()


def _opposite(relation: Relation) -> Relation:
    pairs = ((Relation.left_of, Relation.right_of), (Relation.above, Relation.below))
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}[relation]


def test_the_truth_is_json_and_counts_what_is_drawn():
    for seed in SEEDS:
        scene = make_scene(seed)
        truth = json.loads(json.dumps(scene.truth()))
        assert sum(truth["counts"].values()) == len(truth["objects"]) == len(scene.objects) <= MAX_OBJECTS
        assert [tuple(o["box"]) for o in truth["objects"]] == scene.boxes()
        assert [o["visible_pixels"] for o in truth["objects"]] == scene.masks().sum(axis=(1, 2)).tolist()


def test_a_smaller_rendering_shows_the_same_picture():
    import cv2

    for seed in range(12):
        scene = make_scene(seed)
        shrunk = cv2.resize(render(scene), (96, 96), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(int) - render(scene, (96, 96))).mean() < 4


def test_pictures_of_different_scenes_are_far_apart_in_pdq():
    """At most one pair in 1,000 pictures within the radius of 31 that dedup uses; quality always above its 49."""
    import pdqhash

    hashes, qualities = zip(*(pdqhash.compute(render(make_scene(s), (256, 256))) for s in range(1000)), strict=True)
    bits = np.asarray(hashes, np.int32)
    distance = bits @ (1 - bits).T
    distance = distance + distance.T
    close = int((distance[np.triu_indices(len(bits), 1)] <= 31).sum())
    assert close <= 1
    assert min(qualities) > 49
