"""Windows of everything mode: transformers' crops, and SA-1B's rules of which mask stays."""

from typing import Any

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.masks_config import EverythingConfig
from stages.masks.backend import Found
from stages.masks.crops import Window, merged, windows
from stages.masks.everything import Encoder, segment
from stages.masks.sam import Sam
from tests.stages.masks.tiny_sam import tiny_processor, tiny_sam

CONFIG = EverythingConfig(
    points_per_side=3, predicted_iou=0.0, stability=0.3, stability_offset=0.01, threshold=0.2, nms=1.0,
    smallest_region=0, largest=None, crop_layers=1, crop_nms=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam(tiny_sam(3), tiny_processor())


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return render(make_scene(3), (150, 110))


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [(110, 150), (64, 64), (37, 501), (1000, 13)])
def test_windows_are_those_of_transformers(size: tuple[int, int], layers: int) -> None:
    from transformers.models.sam.image_processing_sam import _generate_per_layer_crops

    boxes, layer_of = _generate_per_layer_crops(layers, 512 / 1500, size)
    theirs = {(*box, layer) for box, layer in zip(boxes, layer_of, strict=True) if box[2] > box[0] and box[3] > box[1]}
    ours = windows(*size, EverythingConfig(crop_layers=layers))
    assert {(w.left, w.top, w.right, w.bottom, w.layer) for w in ours} == theirs
    assert len(ours) == len(theirs)
    covered = np.zeros(size, np.int32)
    for window in ours:
        covered[window.top : window.bottom, window.left : window.right] += 1
    assert (covered >= layers + 1).all()


def test_before_nms_the_masks_are_those_of_transformers(sam: Sam, rgb: np.ndarray) -> None:
    """After it they need not be: transformers ranks all windows' masks by predicted IoU in one NMS."""
    from PIL import Image
    from transformers import pipeline

    (found,) = segment(sam, [rgb], CONFIG)
    generate = pipeline("mask-generation", model=sam.model, image_processor=sam.processor, device="cpu")
    theirs = generate(
        Image.fromarray(rgb), points_per_crop=3, pred_iou_thresh=0.0, stability_score_thresh=0.3,
        stability_score_offset=0.01, mask_threshold=0.2, crops_nms_thresh=1.0, crops_n_layers=1,
    )  # fmt: skip
    filled = [(m, s) for m, s in zip(theirs["masks"], theirs["scores"].tolist(), strict=True) if np.asarray(m).any()]
    assert len(found) == len(filled) > len(segment(sam, [rgb], CONFIG.model_copy(update={"crop_layers": 0}))[0])
    assert [f.predicted_iou for f in found] == pytest.approx([s for _, s in filled], rel=1e-4, abs=1e-5)
    left = [np.asarray(m) for m, _ in filled]
    for one in found:
        mask = one.on(110, 150)
        same = [i for i, other in enumerate(left) if (mask != other).sum() <= 2]
        assert same
        left.pop(same[0])


def test_a_mask_cut_by_an_inner_edge_of_its_window_goes() -> None:
    import torch
    from transformers.models.sam.image_processing_sam import _is_box_near_crop_edge

    window = Window(50, 30, 130, 110, 1, 110, 150)
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 80, (200, 2, 2), generator=generator).sort(1).values.reshape(200, 4)
    theirs = _is_box_near_crop_edge(corners, [50, 30, 130, 110], [0, 0, 150, 110], 7)
    ours = window.touches(corners, 7)
    assert torch.equal(ours, theirs)
    assert 0 < ours.sum() < 200
    whole = Window(0, 0, 150, 110, 0, 110, 150)
    assert not whole.touches(torch.tensor([[0, 0, 149, 109]]), 7).any()


def found(x: int, y: int, iou: float, side: int = 20) -> Found:
    return Found((x, y, side, side), np.ones((side, side), np.bool_), (x + 1.0, y + 1.0), iou, 1.0)


def test_of_two_masks_with_the_same_box_the_smaller_windows_stays() -> None:
    """However sure the model is of the other."""
    config = EverythingConfig(crop_layers=2)
    whole, middle = Window(0, 0, 150, 110, 0, 110, 150), Window(50, 30, 150, 110, 1, 110, 150)
    small = Window(60, 40, 100, 80, 2, 110, 150)
    parts = [
        (whole, [found(70, 50, 0.99), found(10, 10, 0.9), found(55, 35, 0.97)]),
        (middle, [found(21, 20, 0.95), found(5, 5, 0.6)]),
        (small, [found(10, 11, 0.89)]),
    ]
    kept = merged(parts, config)
    assert [(f.box[:2], f.predicted_iou) for f in kept] == [((10, 10), 0.9), ((70, 51), 0.89), ((55, 35), 0.6)]
    assert kept[1].point == (71.0, 52.0)
    assert len(merged(parts, config.model_copy(update={"crop_nms": 1.0}))) == 6
    assert merged([(whole, []), (small, [])], config) == []


def test_windows_have_fewer_points_and_share_passes(sam: Sam, rgb: np.ndarray) -> None:
    """Transformers' pipeline cannot: it stacks the grids of all layers."""
    config = CONFIG.model_copy(update={"points_per_side": 4, "crop_layers": 2, "crop_points_factor": 2})
    sizes: list[int] = []
    points: list[int] = []

    def seen(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        sizes.append(given["input_points"].shape[:2].numel())
        points.append(int((given["input_points"] != 0).all(-1).sum()))  # What is padded lies in the corner.

    hook = sam.model.prompt_encoder.register_forward_pre_hook(seen, with_kwargs=True)
    before = sam.encoded_pictures
    (masks,) = segment(sam, [rgb], config, Encoder(sam.embed, 21))
    hook.remove()
    assert sam.encoded_pictures - before == 1 + 4 + 16
    assert sum(points) == 16 + 4 * 4 + 16 * 1
    assert max(sizes) <= config.prompts_per_pass
    assert len(sizes) <= 3
    for one in masks:
        x, y, w, h = one.box
        assert x >= 0 <= y
        assert x + w <= 150
        assert y + h <= 110
        assert one.point is not None


def test_each_point_has_one_best_mask_and_it_comes_first(sam: Sam, rgb: np.ndarray) -> None:
    for layers in (0, 1):
        (masks,) = segment(sam, [rgb], CONFIG.model_copy(update={"crop_layers": layers}))
        best = {}
        for one in masks:
            best.setdefault(one.point, one)
        assert [one for one in masks if one.best] == list(best.values())
        assert len(masks) > len(best)
        for one in masks:
            assert one.predicted_iou <= best[one.point].predicted_iou


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 3), (3, 70)])
def test_small_pictures_have_fewer_windows(shape: tuple[int, int], sam: Sam) -> None:
    config = CONFIG.model_copy(update={"points_per_side": 1, "crop_layers": 2, "crop_edge": 0})
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    (masks,) = segment(sam, [rgb], config)
    for one in masks:
        x, y, w, h = one.box
        assert x + w <= shape[1]
        assert y + h <= shape[0]
