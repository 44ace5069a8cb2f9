"""Parts of the small CLIP's training whose right answer is known: labels, losses, batches."""

import numpy as np
import torch

from pipelines.sample_web import clip_data, clip_files
from pipelines.sample_web.clip_files import IMAGE_SIZE, vocabulary
from pipelines.sample_web.clip_loss import augmented, contrastive, pixels, place_loss
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.shapes import Colour, Shape

CELLS = 6
STILL = torch.tensor([[1.0, 1.0, 0.0, 0.0]])


def _perfect_logits(seed: int) -> torch.Tensor:
    """Logits that say, certain of it, what the scene of `seed` holds in each cell."""
    scene, logits = make_scene(seed), torch.full((1, 1 + len(Colour) + len(Shape), CELLS, CELLS), -20.0)
    for o in scene.objects:
        line, column = int(o.cy / scene.height * CELLS), int(o.cx / scene.width * CELLS)
        logits[0, 0, line, column] = 20.0
        logits[0, 1 + list(Colour).index(o.colour), line, column] = 20.0
        logits[0, 1 + len(Colour) + list(Shape).index(o.shape), line, column] = 20.0
    return logits


def test_the_place_loss_vanishes_for_the_truth_and_not_for_another_scene():
    places = clip_data.places(0, 30)
    apart = [s for s in range(30) if len(make_scene(s).objects) <= 3]
    grey = torch.tensor([False])
    right = [float(place_loss(_perfect_logits(s), places[s : s + 1], STILL, grey)) for s in apart]
    wrong = [float(place_loss(_perfect_logits(s), places[(s + 1) % 30][None], STILL, grey)) for s in apart]
    assert np.median(right) < 1e-3
    assert min(wrong) > 1


def test_places_follow_the_crop():
    """The labels of a cropped picture are those found by cropping the coordinates."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    picture[:, :, 70:74, 30:34] = 4.0
    moved_picture, moved = augmented(picture, generator)
    bright = (moved_picture[0, 0] > moved_picture.min() + 0.5).nonzero().float().mean(0)
    there = torch.tensor([2 * 32 / IMAGE_SIZE - 1, 2 * 72 / IMAGE_SIZE - 1])
    predicted = (there - moved[0, 2:]) / moved[0, :2]
    found = 2 * (bright.flip(0) + 0.5) / IMAGE_SIZE - 1
    assert torch.allclose(found, predicted, atol=0.02)


def test_grey_rows_lose_their_colour_and_no_others():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    before = pictures.copy()
    x = pixels(pictures, np.array([True, False]))
    assert torch.equal(x[0, 0], x[0, 1]) and torch.equal(x[0, 0], x[0, 2])
    assert not torch.equal(x[1, 0], x[1, 1])
    assert (pictures == before).all()
    assert torch.allclose(x[1].permute(1, 2, 0), torch.from_numpy((before[1] / 255 - 0.5) / 0.25).float(), atol=1e-5)


def _parts(image: torch.Tensor, true: torch.Tensor, wrong: torch.Tensor) -> dict[str, torch.Tensor]:
    count = len(image)
    return {
        "image": image, "true": true, "wrong": wrong, "possible": torch.ones(count, wrong.shape[1], dtype=torch.bool),
        "same": torch.eye(count, dtype=torch.bool),
    }  # fmt: skip


def test_the_contrastive_loss_punishes_a_hard_negative_and_forgives_equal_content():
    scale, bias = torch.tensor(20.0), torch.tensor(-10.0)
    basis = torch.eye(4)
    good = _parts(basis[:2], basis[:2], basis[[2, 3]][:, None])
    fooled = _parts(basis[:2], basis[:2], basis[:2][:, None])
    assert contrastive(good, scale, bias, 1.0) < 0.01
    assert contrastive(fooled, scale, bias, 1.0) > 1
    twins = _parts(basis[[0, 0, 1]], basis[[0, 0, 1]], basis[[2, 3, 2]][:, None])
    assert contrastive(twins, scale, bias, 1.0) > 1
    twins["same"][:2, :2] = True
    assert contrastive(twins, scale, bias, 1.0) < 0.01


def test_an_epoch_covers_the_scenes_once_with_captions_that_change_by_epoch():
    batches = list(clip_data.text_batches(clip_data.TRAIN_SEED, 40, 16, epoch=0))
    rows = np.concatenate([b.rows for b in batches])
    assert len(rows) == len(set(rows.tolist())) == 32
    again = list(clip_data.text_batches(clip_data.TRAIN_SEED, 40, 16, epoch=0))
    assert [b.true for b in again] == [b.true for b in batches]
    later = clip_data.text_batches(clip_data.TRAIN_SEED, 40, 16, epoch=1)
    other = {r: t for b in later for r, t in zip(b.rows, b.true, strict=True)}
    shared = [(t, other[r]) for b in batches for r, t in zip(b.rows, b.true, strict=True) if r in other]
    assert sum(a != b for a, b in shared) > len(shared) / 2


def test_the_vocabulary_is_small_and_ends_with_the_end(monkeypatch):
    monkeypatch.setattr(clip_files, "VOCABULARY_SCENES", range(1500))
    words = vocabulary()
    assert 100 < len(words) < 400
    assert words[-1] == "[END]" and len(set(words)) == len(words)
    assert {"red", "crescent", "left", "three", "backdrop"} <= set(words)
