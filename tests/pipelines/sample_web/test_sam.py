"""The small SAM is an ordinary checkpoint of transformers and cuts out what its card says it cuts out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web import sam_eval, sam_files
from pipelines.sample_web.clip_eval import TEST_SEED
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.masks_config import EverythingConfig

FOLDER = Path(__file__).parents[3] / "pipelines" / "sample_web" / "sam"
START = 40_000_000
"""Scenes of these tests alone."""


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return json.loads((FOLDER / "card.json").read_text())


@pytest.fixture(scope="module")
def prompted() -> dict[str, np.ndarray]:
    return sam_eval.prompted(FOLDER, START, 32)


def test_transformers_loads_it_and_it_is_small() -> None:
    import torch
    from transformers import SamModel, SamProcessor

    model: Any = SamModel.from_pretrained(FOLDER)
    processor: Any = SamProcessor.from_pretrained(FOLDER)
    assert sam_files.megabytes(FOLDER) <= 8
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in model.parameters())
    made = processor(images=np.zeros((300, 400, 3), np.uint8), input_points=[[[200.0, 150.0]]], return_tensors="pt")
    assert made["pixel_values"].shape == (1, 3, model.config.vision_config.image_size, sam_files.SIDE)
    assert made["input_points"].flatten().tolist() == [sam_files.SIDE / 2, sam_files.SIDE * 3 / 8]


def test_one_point_cuts_out_objects_of_scenes_it_never_saw(prompted: dict[str, np.ndarray]) -> None:
    assert len(prompted["point"]) > 70
    assert prompted["point_best"].mean() >= 0.88
    assert prompted["point"].mean() >= 0.84


def test_a_box_cuts_them_out(prompted: dict[str, np.ndarray]) -> None:
    assert prompted["box_best"].mean() >= 0.88
    assert prompted["box"].mean() >= 0.86


def test_the_card_does_not_flatter(prompted: dict[str, np.ndarray], card: dict[str, Any]) -> None:
    said = card["test"]["prompts"]
    assert {name: float(prompted[name].mean()) for name in prompted} == pytest.approx(
        {name: said[name] for name in prompted}, abs=0.04
    )


def test_everything_mode_finds_objects_with_the_cards_settings(card: dict[str, Any]) -> None:
    assert EverythingConfig(**card["everything_config"]) == sam_files.EVERYTHING
    found = sam_eval.everything(FOLDER, START, 6)
    assert found["found"] >= 0.9
    assert found["masks_of_objects"] >= 0.9


def test_a_point_on_no_object_is_doubted() -> None:
    """Predicted IoU of the middle of the emptiest place, below what everything mode keeps."""
    import cv2

    model, processor = sam_files.load(FOLDER)
    doubted = []
    for seed in range(START, START + 12):
        scene = make_scene(seed)
        empty: Any = (~scene.masks().any(0)).astype(np.uint8)
        room = cv2.distanceTransform(empty, cv2.DIST_L2, 5)
        y, x = np.unravel_index(room.argmax(), room.shape)
        _, iou = sam_eval.ask(model, processor, render(scene), "point", [[[float(x), float(y)]]])
        doubted.append(iou.max() < sam_files.EVERYTHING.predicted_iou)
    assert np.mean(doubted) >= 0.9


def test_a_mask_is_the_same_twice() -> None:
    model, processor = sam_files.load(FOLDER)
    rgb = render(make_scene(START))
    once, again = (sam_eval.ask(model, processor, rgb, "box", [[20.0, 30.0, 200.0, 180.0]]) for _ in range(2))
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])


def test_iou_of_masks_is_counted_in_pixels() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2] = True
    masks[1, 1:3] = True
    assert sam_eval.iou(masks[:2], masks).tolist() == [
        [1.0, pytest.approx(4 / 12), 0.0],
        [pytest.approx(1 / 3), 1.0, 0.0],
    ]
    assert sam_eval.iou(masks[2:], masks[2:]).tolist() == [[0.0]]


@pytest.mark.slow
def test_the_bounds_hold_on_the_cards_own_scenes(card: dict[str, Any]) -> None:
    few = card["scenes_everything"]
    prompts = sam_eval.prompted(FOLDER, TEST_SEED, card["scenes"])
    assert prompts["point_best"].mean() >= 0.85
    assert prompts["box_best"].mean() >= 0.90
    assert {name: float(v.mean()) for name, v in prompts.items()} == pytest.approx(
        {name: card["test"]["prompts"][name] for name in prompts}, abs=2e-3
    )
    found = sam_eval.everything(FOLDER, TEST_SEED, few)
    assert found["found"] >= 0.90
    assert found["found"] == pytest.approx(card["test"]["everything"]["found"], abs=5e-3)
    assert sam_eval.grabcut_boxes(TEST_SEED, few).mean() >= 0.85
