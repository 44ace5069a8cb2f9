"""Parts of the small SAM's training whose right answer is known: drawn scenes, prompts, losses, a first model."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipelines.sample_web import sam_data, sam_fast, sam_files, sam_loss, sam_match, train_sam
from pipelines.sample_web.sam_files import MASK_SIDE, PATCH, SIDE
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.shapes import PALETTE

SEEDS = range(500, 520)
FINE = SIDE // MASK_SIDE


@pytest.fixture(scope="module")
def data() -> sam_data.Drawn:
    return sam_data.drawn(SEEDS[0], len(SEEDS))


def batch(data: sam_data.Drawn, asked: sam_data.Asked, seed: int = 0) -> sam_data.Batch:
    return sam_data.batch(data, np.arange(len(data.counts)), asked, np.random.default_rng(seed))


def test_scenes_are_drawn_at_the_size_the_processor_makes(data: sam_data.Drawn) -> None:
    image_processor = sam_files.processor().image_processor
    for row, seed in enumerate(SEEDS):
        scene = make_scene(seed)
        made = image_processor(np.zeros((scene.height, scene.width, 3), np.uint8), return_tensors="pt")
        assert made["reshaped_input_sizes"][0].tolist() == data.sizes[row].tolist()
        assert made["pixel_values"].shape == (1, 3, SIDE, SIDE)


def test_coverage_is_what_the_scenes_masks_say(data: sam_data.Drawn) -> None:
    for row, seed in enumerate(SEEDS):
        scene = make_scene(seed)
        shares = scene.masks().mean((1, 2))
        height, width = data.sizes[row]
        seen = data.coverage[row].astype(float).sum((1, 2)) / 255 / (height * width)
        assert data.counts[row] == len(shares)
        assert seen[: len(shares)] == pytest.approx(shares, rel=0.1)  # soft edges of a thin crescent
        assert not seen[len(shares) :].any()
        scale = SIDE / max(scene.width, scene.height)
        corners = [[x * scale, y * scale, (x + w) * scale, (y + h) * scale] for x, y, w, h in scene.boxes()]
        assert np.abs(data.boxes[row, : len(corners)] - corners).max() <= 2  # the tip of a star covers no half pixel


def test_objects_are_where_the_turned_picture_shows_them(data: sam_data.Drawn) -> None:
    """The colour under an object's inner cells is its own, however the scene was mirrored and transposed."""
    seen = [batch(data, sam_data.Asked(), seed) for seed in range(4)]
    assert any((a.pictures != b.pictures).any() for a, b in pairwise(seen))
    for made in seen:
        for row, seed in enumerate(SEEDS):
            for index, item in enumerate(make_scene(seed).objects):
                inner = cv2.erode((made.coverage[row, index] == 1).astype(np.uint8), np.ones((3, 3), np.uint8))
                cells = np.argwhere(inner)
                left, top, right, bottom = made.object_boxes[row, index]
                assert ((cells >= (top - 1, left - 1)) & (cells <= (bottom, right))).all()
                shown = np.median(made.pictures[row][cells[:, 0], cells[:, 1]], 0)
                assert np.abs(shown - PALETTE[item.colour]).max() < 40


def test_points_are_on_what_they_ask_for_and_boxes_around_it(data: sam_data.Drawn) -> None:
    made = batch(data, sam_data.Asked(points=6, background=4, boxes=3, jitter=0))
    for row in range(len(SEEDS)):
        places = made.points[row].astype(int)
        for (x, y), index in zip(places, made.pointed[row], strict=True):
            under = made.coverage[row, :, y, x]
            assert under[index] > 0 if index >= 0 else not under.any()
        assert (made.pointed[row] < 0).sum() == 4
        assert set(made.pointed[row]) >= set(range(data.counts[row]))  # 6 points: every object has one
        assert (made.points[row] < made.sizes[row][::-1]).all()
        assert np.array_equal(made.boxes[row], made.object_boxes[row][made.boxed[row]])


def test_jitter_moves_a_boxs_edges_by_no_more_than_it_says(data: sam_data.Drawn) -> None:
    made = batch(data, sam_data.Asked(boxes=6, jitter=0.1))
    true = np.take_along_axis(made.object_boxes, made.boxed[:, :, None], 1)
    moved = np.abs(made.boxes - true) / np.tile(true[..., 2:] - true[..., :2], 2)
    assert 0.01 < moved.mean() < moved.max() <= 0.1


def test_the_mask_loss_is_least_for_logits_of_the_coverage(data: sam_data.Drawn) -> None:
    coverage = torch.from_numpy(data.coverage[:4, 0]).float() / 255
    right = torch.logit(coverage.clamp(1e-4, 1 - 1e-4))
    others = torch.stack((right, right + 1, right - 1, right.sign() * 9, torch.roll(right, 2, 2)), 1)
    losses = sam_loss.mask_loss(others, coverage)
    assert (losses.argmin(1) == 0).all()


def test_only_the_best_mask_learns_much_and_the_background_none() -> None:
    target = torch.zeros(2, MASK_SIDE, MASK_SIDE)
    target[:, 20:40, 20:40] = 1
    logits = torch.full((2, 3, MASK_SIDE, MASK_SIDE), -3.0)
    logits[:, 1, 20:40, 20:38] = 3.0
    logits.requires_grad_()
    predicted = torch.full((2, 3), 0.5)
    told = sam_loss.told(logits, predicted, target, torch.tensor([True, False]))
    told.mask.backward()
    assert logits.grad is not None
    pulled = logits.grad.abs().sum((2, 3))
    assert pulled[0, 1] > 0
    assert not pulled[1].any()
    alone = sam_loss.mask_loss(logits, target)[0]
    assert told.mask.item() == pytest.approx(0.9 * alone[1].item() + 0.1 * alone.mean().item())
    assert told.best == pytest.approx(0.9)
    # IoU 0, 0.9, 0 of the object's masks, 0 of the background's; all were predicted as 0.5.
    assert told.iou == pytest.approx((5 * 0.25 + 0.16) / 6)


def test_the_first_teacher_loss_vanishes_for_the_truth(data: sam_data.Drawn) -> None:
    """Descending from nothing ends at the cells' coverage and the boxes of the patches' objects."""
    coverage = torch.from_numpy(data.coverage[:3]).float() / 255
    boxes = torch.from_numpy(data.boxes[:3])
    rows, fine = SIDE // PATCH, MASK_SIDE * PATCH // SIDE
    read = torch.zeros(3, 2 * fine**2 + 4, rows, rows)
    cells = (torch.nn.functional.avg_pool2d(coverage, FINE) >= 0.5).float()  # no soft cell: the least loss is 0
    hard = cells.repeat_interleave(FINE, 2).repeat_interleave(FINE, 3)
    shown = torch.stack((cells.sum(1), torch.zeros_like(cells[:, 0])), 1)
    read[:, : 2 * fine**2] = torch.nn.functional.pixel_unshuffle(shown, fine) * 40 - 20
    for i in range(3):
        share = torch.nn.functional.avg_pool2d(cells[i][None], fine)[0]
        for y, x in (share.amax(0) > 0).nonzero().tolist():
            centre = torch.tensor([x, y, x, y]) * PATCH + PATCH / 2
            read[i, -4:, y, x] = 4 * (boxes[i, share[:, y, x].argmax()] - centre) / SIDE
    assert sam_loss.look_loss(read, hard, boxes) < 1e-4
    assert sam_loss.look_loss(read.roll(1, 3), hard, boxes) > 0.1


def test_a_fresh_model_sees_and_is_the_same_for_a_seed() -> None:
    models = [sam_files.new_model(seed).eval() for seed in (1, 1, 2)]
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = [m(pixel_values=pixels, input_points=torch.full((2, 1, 1, 2), 40.0)).pred_masks for m in models]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert (seen[0][0] - seen[0][1]).abs().mean() > 1e-3
    assert seen[0].shape[-2:] == (MASK_SIDE, MASK_SIDE)


def test_the_fast_way_gives_the_decoders_answers() -> None:
    """While the image-to-token attention adds nothing; and no longer, once it does."""
    model = sam_files.new_model(0).eval()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    points = torch.rand(2, 3, 1, 2, generator=generator) * SIDE
    with torch.inference_mode():
        features = model.get_image_embeddings(pixels)
        sparse = model.get_prompt_embeddings(points, torch.ones(2, 3, 1))[0]
        said = sam_fast.answers(model, features, sparse)
        for single, masks in ((True, said.masks[:, :, :1]), (False, said.masks[:, :, 1:])):
            theirs = model(image_embeddings=features, input_points=points, multimask_output=not single)
            assert torch.allclose(masks, theirs.pred_masks, atol=1e-3)
            assert torch.allclose(said.iou[:, :, :1] if single else said.iou[:, :, 1:], theirs.iou_scores, atol=1e-4)
        assert (said.masks[:, 0] - said.masks[:, 1]).abs().max() > 0.05
        model.mask_decoder.transformer.layers[0].cross_attn_image_to_token.out_proj.weight.normal_(0, 0.3)
        theirs = model(image_embeddings=features, input_points=points)
        assert not torch.allclose(said.masks[:, :, 1:], theirs.pred_masks, atol=1e-2)
        masks, iou = sam_fast.whole(model, features, sparse)
        assert torch.allclose(masks[:, :, 1:], theirs.pred_masks, atol=1e-3)
        assert torch.allclose(iou[:, :, 1:], theirs.iou_scores, atol=1e-4)


def test_a_decoder_laid_out_fetches_what_lies_under_its_point() -> None:
    """Masks of points are then nearly those made from the feature of their patch; before, they had nothing of it."""
    model, hand_over = sam_files.new_model(0).eval(), sam_match.new_hand_over()
    generator = torch.Generator().manual_seed(0)
    points = (torch.randint(1, SIDE // PATCH - 1, (2, 5, 2), generator=generator) + 0.5) * PATCH
    features = torch.randn(2, sam_files.CHANNELS, SIDE // PATCH, SIDE // PATCH, generator=generator)

    def alike() -> float:
        sparse = model.get_prompt_embeddings(points[:, :, None], torch.ones(2, 5, 1))[0]
        found = sam_fast.answers(model, features, sparse).tokens[:, :, 1]
        rows, columns = (points // PATCH).long().unbind(-1)[::-1]
        under = sam_match.levelled(features)[torch.arange(2)[:, None], :, rows, columns]
        wanted = hand_over(under)
        return float(torch.cosine_similarity(found - found.mean(1, True), wanted - wanted.mean(1, True), dim=-1).mean())

    with torch.inference_mode():
        assert abs(alike()) < 0.1
    sam_match.lay_out(model, hand_over)
    with torch.inference_mode():
        features = sam_match.levelled(features) * model.vision_encoder.neck.layer_norm2.weight[0]
        assert alike() > 0.2  # half of the channels pass, and a look sees its neighbours, too


def test_the_token_of_an_object_is_that_of_its_patches() -> None:
    hand_over = sam_match.new_hand_over()
    rows = SIDE // PATCH
    features = torch.randn(1, sam_files.CHANNELS, rows, rows)
    coverage = torch.zeros(1, 2, SIDE, SIDE)
    coverage[0, 0, :PATCH, :PATCH] = 1  # the first patch, and nothing else
    token = sam_match.fetched(hand_over, features, coverage)[0, 0]
    assert torch.allclose(token, hand_over(sam_match.levelled(features)[0, :, 0, 0]), atol=1e-5)


def test_pictures_are_normalised_as_the_processor_does_and_padded_with_nothing(data: sam_data.Drawn) -> None:
    made = batch(data, sam_data.Asked())
    images = train_sam.shown(made, 0.0, torch.Generator().manual_seed(0))
    processor = sam_files.processor().image_processor
    for row, (height, width) in enumerate(made.sizes.tolist()):
        picture = np.ascontiguousarray(made.pictures[row][:height, :width])
        theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
        assert not images[row, :, height:].any()
        assert not images[row, :, :, width:].any()
        both = torch.stack((images[row].flatten(), theirs.flatten()))
        assert torch.corrcoef(both)[0, 1] > 0.9  # another light, no other picture


def test_training_writes_a_checkpoint_that_transformers_loads(tmp_path: Path, data: sam_data.Drawn) -> None:
    from transformers import SamModel

    data.save(tmp_path / "scenes.npz")
    config = train_sam.TrainConfig(
        scenes=len(SEEDS), looks=1, matches=1, fetches=1, answers=1, ends=1, look_batch=2, batch=2
    )
    train_sam.train(config, tmp_path / "sam", tmp_path / "scenes.npz")
    plain = SamModel.from_pretrained(tmp_path / "sam")
    fresh = sam_files.new_model(config.seed)
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    before = {name: weights.half().float() for name, weights in fresh.named_parameters()}
    moved = {name.split(".")[0] for name, now in plain.named_parameters() if not torch.equal(now, before[name])}
    assert moved == {"vision_encoder", "prompt_encoder", "mask_decoder", "shared_image_embedding"}


def test_logits_come_to_pixels_as_the_processor_brings_them() -> None:
    logits = torch.randn(1, 1, 3, MASK_SIDE, MASK_SIDE)
    sizes = torch.tensor([[SIDE, SIDE]]), torch.tensor([[SIDE, SIDE]])
    (theirs,) = sam_files.processor().image_processor.post_process_masks(logits, *sizes)
    assert torch.equal(sam_loss.at_pixels(logits)[0] > 0, theirs)
