"""Parts of the small CLIP's training whose right answer is known: codes, labels, losses, the laid-out head."""

from random import Random

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from pipelines.sample_web import clip_data, clip_files, clip_pictures
from pipelines.sample_web.claims import HardKind, make_claims, spoil
from pipelines.sample_web.clip_codes import KINDS, code, directions
from pipelines.sample_web.clip_files import EMBEDDING, IMAGE_SIZE, vocabulary
from pipelines.sample_web.clip_loss import Seen, augmented, code_loss, lay_out_head, pixels, place_loss, sums_loss
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.shapes import Colour, Shape

CELLS = 8
TABLE = directions(EMBEDDING)


def seen(*seeds: int, grey: bool = False) -> Seen:
    still = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(len(seeds), 4)
    places = np.concatenate([clip_data.places(seed, 1) for seed in seeds])
    return Seen(torch.from_numpy(places), still, torch.full((len(seeds),), grey))


def apart(count: int) -> list[int]:
    """Scenes with no two objects in one cell."""
    found = []
    for seed in range(200):
        cells = seen(seed).located(CELLS)[0][seen(seed).places[0, :, 2] >= 0].floor()
        if len(torch.unique(cells, dim=0)) == len(cells):
            found.append(seed)
    return found[:count]


def perfect_places(seed: int) -> torch.Tensor:
    """Logits that say, certain of it, what the scene of `seed` holds in each cell."""
    scene, logits = make_scene(seed), torch.full((1, 1 + KINDS, CELLS, CELLS), -20.0)
    for o in scene.objects:
        line, column = int(o.cy / scene.height * CELLS), int(o.cx / scene.width * CELLS)
        kind = list(Colour).index(o.colour) * len(Shape) + list(Shape).index(o.shape)
        logits[0, 0, line, column] = logits[0, 1 + kind, line, column] = 20.0
    return logits


@pytest.mark.parametrize("grey", [False, True])
def test_the_place_loss_vanishes_for_the_truth_and_not_for_another_scene(grey: bool):
    for seed, other in zip(apart(10), apart(11)[1:], strict=True):
        assert place_loss(perfect_places(seed), seen(seed, grey=grey)) < 1e-3
        assert place_loss(perfect_places(seed), seen(other, grey=grey)) > 1


@pytest.mark.parametrize("grey", [False, True])
def test_the_sums_of_the_truth_are_the_counts(grey: bool):
    """Descending the loss from nothing ends where cells add up to what the scene holds: kinds, or shapes in grey."""
    predicted = torch.zeros(1, len(TABLE), 4, 4, requires_grad=True)
    optimizer = torch.optim.SGD([predicted], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        sums_loss(predicted, seen(3, grey=grey)).backward()
        optimizer.step()
    assert predicted.detach().sum((2, 3))[0].round().tolist() == counts(3, not grey).tolist()


def counts(seed: int, coloured: bool) -> torch.Tensor:
    """How many of each row of TABLE the scene holds."""
    found = torch.zeros(len(TABLE))
    for o in make_scene(seed).objects:
        shape = list(Shape).index(o.shape)
        found[list(Colour).index(o.colour) * len(Shape) + shape if coloured else KINDS + shape] += 1
    return found


def test_places_follow_the_crop():
    """The labels of a cropped picture are those found by cropping the coordinates."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    picture[:, :, 70:74, 30:34] = 4.0
    moved_picture, moved = augmented(picture, generator)
    bright = (moved_picture[0, 0] > moved_picture.min() + 0.5).nonzero().float().mean(0)
    there = torch.tensor([[[2 * 32 / IMAGE_SIZE - 1, 2 * 72 / IMAGE_SIZE - 1, 0, 0]]])
    predicted = Seen(there, moved, torch.tensor([False])).located(IMAGE_SIZE)[0, 0]
    assert torch.allclose(bright.flip(0) + 0.5, predicted, atol=1.0)


def test_grey_rows_lose_their_colour_and_no_others():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    before = pictures.copy()
    x = pixels(pictures, np.array([True, False]))
    assert torch.equal(x[0, 0], x[0, 1]) and torch.equal(x[0, 0], x[0, 2])
    assert not torch.equal(x[1, 0], x[1, 1])
    assert (pictures == before).all()
    assert torch.allclose(x[1].permute(1, 2, 0), torch.from_numpy((before[1] / 255 - 0.5) / 0.25).float(), atol=1e-5)


def test_a_hard_negative_is_far_in_code_whatever_is_wrong():
    rng = np.random.default_rng(0)
    for seed in rng.integers(0, 10_000, 60).tolist():
        scene, dice = make_scene(seed), Random(seed)
        claims = make_claims(scene, dice)
        own = code(claims.groups, True, TABLE)
        for kind in HardKind:
            wrong = spoil(claims, scene, kind, dice)
            if wrong is not None:
                assert own @ code(wrong.groups, True, TABLE) < 0.85
        assert own @ own == pytest.approx(1, abs=1e-5)


def test_the_code_loss_punishes_a_hard_negative():
    codes = torch.eye(4)[:2]
    wrong, possible = torch.eye(4)[[2, 3]][:, None], torch.ones(2, 1, dtype=torch.bool)
    assert code_loss(codes, codes, wrong, possible) < 0.01
    assert code_loss(codes, codes, codes[:, None], possible) > 0.6
    assert code_loss(codes, codes, codes[:, None], ~possible) < 0.01


@pytest.mark.parametrize("coloured", [True, False])
def test_a_head_laid_out_from_sums_says_the_code_of_the_counts(coloured: bool):
    kinds = len(TABLE)

    class Head:
        fc1, fc2 = torch.nn.Linear(kinds, 2 * EMBEDDING), torch.nn.Linear(2 * EMBEDDING, EMBEDDING, bias=False)

    sums = torch.nn.Conv2d(kinds, kinds, 1)
    with torch.no_grad():
        sums.weight.copy_(torch.eye(kinds)[:, :, None, None])
        sums.bias.zero_()
    lay_out_head(Head, sums, 16, TABLE)
    for seed in range(20):
        claims = make_claims(make_scene(seed), Random(seed), coloured)
        with torch.inference_mode():
            said = normalize(Head.fc2(torch.nn.functional.gelu(Head.fc1(counts(seed, coloured) / 16))), dim=0)
        if max(group.count for group in claims.groups) <= 4:  # the head's ramps end there
            assert float(said @ torch.from_numpy(code(claims.groups, coloured, TABLE))) > 0.9


def test_scene_codes_are_those_of_the_scenes():
    found = clip_data.scene_codes(clip_data.TRAIN_SEED, 500, workers=1)
    for i in (0, 7, 499):
        groups = tuple(make_scene(clip_data.TRAIN_SEED + i).groups())
        assert np.allclose(found.own[i, 0], code(groups, True, TABLE), atol=1e-3)
    assert found.possible[:, 2].all() and 0.4 < found.possible[:, 3].mean() < 0.9


def test_training_pictures_are_what_a_build_shows_and_grey_ones_are_known():
    start = clip_pictures.SHOWN_EVERY * 1000
    grey = next(s for s in range(start, start + 4000, clip_pictures.SHOWN_EVERY) if clip_pictures.is_grey(s))
    picture = clip_pictures.draw_pictures(grey, 1, workers=1)[0].astype(int)
    assert clip_pictures.grey_rows(grey, 2).tolist() == [True, False]
    assert np.abs(picture[..., 0] - picture[..., 2]).max() <= 1
    drawn = clip_pictures.draw_pictures(grey + 1, 1, workers=1)[0]
    assert (drawn == render(make_scene(grey + 1), (IMAGE_SIZE, IMAGE_SIZE))).all()


def test_captions_change_from_epoch_to_epoch():
    texts = [[clip_data.captioned(seed, epoch, TABLE)[0] for seed in range(30)] for epoch in (0, 0, 1)]
    assert texts[0] == texts[1]
    assert sum(a != b for a, b in zip(texts[0], texts[2], strict=True)) > 25


def test_the_vocabulary_is_small_and_ends_with_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clip_files, "VOCABULARY_SCENES", range(1500))
    words = vocabulary()
    assert 100 < len(words) < 400
    assert words[-1] == "[END]" and len(set(words)) == len(words)
    assert {"red", "crescent", "left", "three", "backdrop"} <= set(words)


@pytest.mark.slow
def test_the_training_script_runs_whole(tmp_path, monkeypatch: pytest.MonkeyPatch):
    from pipelines.sample_web.train_clip import TrainConfig, train

    monkeypatch.setattr(clip_files, "VOCABULARY_SCENES", range(1500))
    train(TrainConfig(scenes=500, looks=1, epochs=1, last_epochs=1, text_epochs=1, batch=32), tmp_path / "clip")
    import open_clip

    model = open_clip.create_model(f"local-dir:{tmp_path / 'clip'}")
    assert all(torch.isfinite(p).all() for p in model.parameters())
