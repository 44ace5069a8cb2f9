"""Segment everything: the same masks as transformers' own pipeline, image by image, on the same weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.masks_config import EverythingConfig
from stages.masks.everything import Found, everything, grid, segment
from stages.masks.sam import Sam
from tests.stages.masks.tiny_sam import SIDE, tiny_processor, tiny_sam

# Logits of random weights lie within ±1, so thresholds are nearer to each other than SAM's; many masks pass.
CONFIG = EverythingConfig(
    points_per_side=6, predicted_iou=0.05, stability=0.6, stability_offset=0.01, threshold=0.2, nms=0.9,
    smallest_region=0, largest=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam(tiny_sam(1), tiny_processor())


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Of many shapes: wide, high, square, smaller and larger than the model, one pixel, three pixels high, grey."""
    scenes = [render(make_scene(s), size) for s, size in enumerate([(100, 60), (64, 96), (50, 50), (150, 110)])]
    noise = np.random.default_rng(1).integers(0, 255, (33, 200, 3), np.uint8)
    grey = np.repeat(scenes[0][:, :, :1], 3, axis=2)
    return [*scenes, noise, grey, noise[:1, :1], noise[:3, :40]]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small only wait for each other on more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def theirs(generate: Any, rgb: np.ndarray, config: EverythingConfig) -> dict[str, Any]:
    from PIL import Image

    return generate(
        Image.fromarray(rgb), points_per_crop=config.points_per_side, pred_iou_thresh=config.predicted_iou,
        stability_score_thresh=config.stability, stability_score_offset=config.stability_offset,
        mask_threshold=config.threshold, crops_nms_thresh=config.nms,
    )  # fmt: skip


def same(ours: Sequence[Found], others: Sequence[Found]) -> bool:
    """Equal but for the last bits of the scores."""
    return len(ours) == len(others) and all(
        a.box == b.box
        and np.array_equal(a.pixels, b.pixels)
        and a.predicted_iou == pytest.approx(b.predicted_iou, rel=1e-5)
        for a, b in zip(ours, others, strict=True)
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_the_masks_are_those_of_transformers(seed: int, pictures: list[np.ndarray]) -> None:
    from transformers import pipeline

    model, processor = tiny_sam(seed), tiny_processor()
    generate = pipeline("mask-generation", model=model, image_processor=processor, device="cpu")
    ours = segment(Sam(model, processor), pictures, CONFIG)
    assert sum(map(len, ours)) > 20
    for rgb, found in zip(pictures, ours, strict=True):
        reference = theirs(generate, rgb, CONFIG)
        assert len(found) == len(reference["masks"])
        assert [f.predicted_iou for f in found] == pytest.approx(reference["scores"].tolist(), abs=1e-4)
        for mine, other in zip(found, reference["masks"], strict=True):
            assert iou(mine.on(*rgb.shape[:2]), np.asarray(other)) >= 0.99


def test_nms_matters_in_that_comparison(sam: Sam, pictures: list[np.ndarray]) -> None:
    without = segment(sam, pictures, CONFIG.model_copy(update={"nms": 1.0}))
    assert sum(map(len, without)) > sum(map(len, segment(sam, pictures, CONFIG)))


@pytest.mark.parametrize("prompts", [1, 7, 5000])
def test_how_prompts_are_batched_changes_no_mask(prompts: int, sam: Sam, pictures: list[np.ndarray]) -> None:
    few = pictures[:3]
    config = CONFIG.model_copy(update={"points_per_side": 5})
    batched = segment(sam, few, config.model_copy(update={"prompts_per_pass": prompts}))
    for rgb, found in zip(few, batched, strict=True):
        (alone,) = segment(sam, [rgb], config)
        assert same(found, alone)


def test_pictures_are_embedded_once_for_all_prompts(sam: Sam, pictures: list[np.ndarray]) -> None:
    passes: list[int] = []
    hook = sam.model.vision_encoder.register_forward_hook(lambda _module, given, _made: passes.append(len(given[0])))
    before = sam.encoded_pictures
    try:
        embedded = sam.embed(pictures)
        first = list(everything(sam, embedded, CONFIG))
        again = list(everything(sam, embedded, CONFIG))
    finally:
        hook.remove()
    assert sam.encoded_pictures == before + len(pictures)
    assert passes == [len(pictures)]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_a_mask_says_where_it_is_and_what_was_asked(sam: Sam, pictures: list[np.ndarray]) -> None:
    rgb = pictures[0]
    (found,) = segment(sam, [rgb], CONFIG)
    asked = {tuple(p) for p in (grid(6) * np.float32(rgb.shape[1::-1])).round(3).tolist()}
    assert found
    for mask in found:
        x, y, w, h = mask.box
        assert mask.pixels.shape == (h, w)
        assert mask.pixels.any(1)[[0, -1]].all()
        assert mask.pixels.any(0)[[0, -1]].all()
        assert mask.on(*rgb.shape[:2])[y : y + h, x : x + w].sum() == mask.pixels.sum()
        assert tuple(np.float32(mask.point).round(3).tolist()) in asked
        assert mask.stability > CONFIG.stability


def test_masks_of_nearly_all_of_a_picture_go(sam: Sam, pictures: list[np.ndarray]) -> None:
    rgb = pictures[0]
    (every,) = segment(sam, [rgb], CONFIG.model_copy(update={"nms": 1.0}))
    shares = [mask.pixels.sum() / rgb[:, :, 0].size for mask in every]
    limit = float(np.median(shares))
    (small,) = segment(sam, [rgb], CONFIG.model_copy(update={"nms": 1.0, "largest": limit}))
    assert len(small) == sum(share < limit for share in shares)
    assert 0 < len(small) < len(every)


def test_small_regions_are_removed_and_boxes_are_tight_again(sam: Sam, pictures: list[np.ndarray]) -> None:
    from stages.masks.regions import tidied

    rgb = pictures[3]
    (rough,) = segment(sam, [rgb], CONFIG)
    (found,) = segment(sam, [rgb], CONFIG.model_copy(update={"smallest_region": 400, "nms": 0.9}))
    assert any(not np.array_equal(m.pixels, tidied(m.pixels, 400)) for m in rough)
    for mask in found:
        assert np.array_equal(mask.pixels, tidied(mask.pixels, 400))
        assert mask.pixels.any(1)[[0, -1]].all()
        assert mask.pixels.any(0)[[0, -1]].all()
        assert mask.pixels.sum() >= 400


def test_empty_masks_are_not_masks(sam: Sam, pictures: list[np.ndarray]) -> None:
    config = CONFIG.model_copy(update={"threshold": 1e6, "predicted_iou": 0.0, "stability": 0.0})
    assert segment(sam, pictures, config) == [[] for _ in pictures]


def test_a_picture_too_thin_for_the_model_has_none(sam: Sam, pictures: list[np.ndarray]) -> None:
    thin = np.zeros((1, 3 * SIDE, 3), np.uint8)
    assert not sam.fits(1, 3 * SIDE)
    found = segment(sam, [thin, pictures[0], thin], CONFIG)
    assert found[0] == found[2] == []
    assert same(found[1], segment(sam, [pictures[0]], CONFIG)[0])
    assert segment(sam, [], CONFIG) == []
    with pytest.raises(ValueError, match="no pixel across"):
        sam.embed([thin])


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_only_rgb_pictures_are_taken(shape: tuple[int, ...], sam: Sam) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        segment(sam, [np.zeros(shape, np.uint8)], CONFIG)


def test_half_precision_runs(pictures: list[np.ndarray]) -> None:
    import torch

    found = segment(Sam(tiny_sam(1).to(torch.bfloat16), tiny_processor()), pictures[:2], CONFIG)
    assert any(found)
