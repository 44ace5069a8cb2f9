"""The small vision tower is an ordinary checkpoint of transformers; its features say what its card says they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web import tower_data, tower_eval, tower_files, tower_loss, train_tower
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.tower_data import Drawn
from pipelines.sample_web.tower_files import CODE, PATCH, ROWS, SIDE, WIDTH

FOLDER = Path(tower_files.__file__).parent / "vision"
START = 41_000_000
"""Scenes of these tests alone."""


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return json.loads((FOLDER / "card.json").read_text())


def squashed(start: int, count: int) -> Drawn:
    """Scenes as they are drawn, at the tower's size."""
    from pipelines.sample_web.render import render

    pictures = np.stack([render(make_scene(seed), (SIDE, SIDE)) for seed in range(start, start + count)])
    return Drawn(pictures, *tower_data.told(start, count), np.zeros(count, bool))


@pytest.fixture(scope="module")
def scenes() -> Drawn:
    return squashed(START, 120)


def test_transformers_loads_it_and_it_is_small() -> None:
    import torch
    from transformers import AutoImageProcessor, CLIPVisionModel

    model: Any = CLIPVisionModel.from_pretrained(FOLDER)
    assert tower_files.megabytes(FOLDER) < 10
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in model.parameters())
    processor: Any = AutoImageProcessor.from_pretrained(FOLDER)
    made = processor(np.full((300, 400, 3), 255, np.uint8), return_tensors="pt")["pixel_values"]
    assert made.shape == (1, 3, SIDE, SIDE)
    assert float(made.min()) == pytest.approx((1 - tower_files.MEAN) / tower_files.DEVIATION, abs=1e-4)


def test_a_configuration_takes_it_as_it_is() -> None:
    import torch

    from pipelines.train.towers import load_tower
    from schemas.train import TowerConfig

    tower = load_tower(TowerConfig(model=str(FOLDER), fit="own"), torch.float32)
    assert (tower.sight.rows, tower.sight.leading, tower.model.config.hidden_size) == (ROWS, 1, WIDTH)


def test_its_features_say_what_lies_where_as_the_card_says(scenes: Drawn, card: dict[str, Any]) -> None:
    fit, test = (Drawn(*(getattr(scenes, n)[part] for n in Drawn.__slots__)) for part in (slice(90), slice(90, None)))
    found = tower_eval.figures(FOLDER, fit, test)
    said = card["test"]
    assert found["colour"] >= 0.8 and found["centre_colour"] >= 0.8  # fitted to 90 scenes: the card's are to 300
    assert found["code_auc"] >= said["code_auc"] - 0.08
    assert min(said["colour"], said["shape"]) >= 0.95


def test_coverage_is_what_the_scenes_masks_say(scenes: Drawn) -> None:
    for row in range(10):
        shares = make_scene(START + row).masks().mean((1, 2))
        seen = scenes.coverage[row].astype(float).mean((1, 2)) / 255
        assert seen[: len(shares)] == pytest.approx(shares, rel=0.1, abs=1e-3)
        assert not seen[len(shares) :].any()


def test_grey_pictures_have_the_code_of_their_shapes() -> None:
    from pipelines.sample_web.clip_codes import code, directions
    from pipelines.sample_web.scenes import Group
    from pipelines.sample_web.shapes import Colour, Shape

    seed = next(s for s in range(START, START + 500) if len({o.shape for o in make_scene(s).objects}) == 1)
    scene = make_scene(seed)
    shape = scene.objects[0].shape
    same = (Group(len(scene.objects), Colour.red, shape, None),)
    wanted = code(same, False, directions(CODE))
    assert tower_data.told(seed, 1)[2][0, 1] == pytest.approx(wanted, abs=2e-3)
    assert shape in Shape


def test_attention_begins_by_looking_at_one_neighbour_each() -> None:
    """Eight heads, eight neighbours: from a patch amid the picture each looks most at another of them."""
    import torch

    model = tower_files.new_model(0).eval()
    with torch.inference_mode():
        made = model(pixel_values=torch.randn(4, 3, SIDE, SIDE), output_attentions=True)
    middle = 1 + 3 * ROWS + 4
    at = made.attentions[0][:, :, middle, 1:].mean(0).argmax(-1) - (middle - 1)
    assert sorted(at.tolist()) == [-ROWS - 1, -ROWS, -ROWS + 1, -1, 1, ROWS - 1, ROWS, ROWS + 1]


def truth_of(scenes: Drawn) -> Any:
    import torch

    coverage = torch.from_numpy(scenes.coverage).flatten(2).float() / 255
    return tower_loss.Truth(torch.from_numpy(scenes.objects), coverage, torch.from_numpy(scenes.grey))


def test_the_teacher_is_told_where_objects_are(scenes: Drawn) -> None:
    """The patch that has most of an object is the one in which it was placed, and says where in it."""
    share, place, patch = tower_loss.centres(truth_of(scenes))
    scene = make_scene(START)
    for n, o in enumerate(scene.objects):
        x, y = o.cx / scene.width * SIDE, o.cy / scene.height * SIDE
        most = int(share[0, n].argmax())
        assert int(patch[0, n, most]) == int(y // PATCH) * ROWS + int(x // PATCH)
        middle = [x % PATCH / PATCH - 0.5, y % PATCH / PATCH - 0.5]
        assert place[0, n, most].tolist() == pytest.approx(middle, abs=1e-3)
    assert share[0].sum(1).tolist() == pytest.approx([1.0] * len(scene.objects) + [0.0] * (6 - len(scene.objects)))


def test_an_object_on_a_border_belongs_to_both_patches() -> None:
    import torch

    objects = torch.full((1, 6, 6), tower_data.EMPTY)
    objects[0, 0] = torch.tensor([3 / ROWS, 2.5 / ROWS, 0.1, 1, 2, 0])
    objects[0, 1] = torch.tensor([0.02 / ROWS, 7.98 / ROWS, 0.1, 1, 2, 0])  # at the picture's corner: nothing beyond
    truth = tower_loss.Truth(objects, torch.zeros(1, 6, ROWS**2), torch.zeros(1, dtype=torch.bool))
    share, _, patch = tower_loss.centres(truth)
    there = {int(p): float(s) for s, p in zip(share[0, 0], patch[0, 0], strict=True) if s > 0}
    assert there == pytest.approx({2 * ROWS + 2: 0.5, 2 * ROWS + 3: 0.5})
    assert {int(p) for s, p in zip(share[0, 1], patch[0, 1], strict=True) if s > 0} == {7 * ROWS}


def test_counts_are_sums_over_patches(scenes: Drawn) -> None:
    """Of shares that say what is there, nothing is missed; with one object gone, one of its kind and of its shape."""
    import torch
    from torch.nn.functional import one_hot

    truth = truth_of(scenes)
    there = torch.zeros(len(scenes.grey), ROWS**2)
    colours, shapes = torch.zeros(2, *there.shape, 10)
    row = 0
    for number, o in enumerate(truth.objects[row]):
        if o[0] >= 0:
            at = 10 * number
            there[row, at] = 1
            colours[row, at], shapes[row, at] = one_hot(o[3].long(), 10), one_hot(o[4].long(), 10)
    one = tower_loss.Truth(*(part[:1] for part in truth))
    missed, counted = tower_loss.counted(there[:1], colours[:1], shapes[:1], one)
    assert (float(missed), counted) == (0.0, 1.0)
    there[0, 0] = 0
    missed, counted = tower_loss.counted(there[:1], colours[:1], shapes[:1], one)
    assert float(missed) == 2.0 and counted < 1


def test_a_few_steps_learn_colours(scenes: Drawn, tmp_path: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    try:
        config = train_tower.TrainConfig(steps=30, batch=16, rate=2e-3)
        trainer = train_tower.Trainer(config, scenes, tower_files.new_model(0))
        with torch.no_grad():
            before = float(trainer.loss(np.arange(60))[0])
        model = trainer.run()
        with torch.no_grad():
            assert float(trainer.loss(np.arange(60))[0]) < 0.75 * before
        tower_files.write(tmp_path, model)
        assert tower_eval.see(tower_files.load(tmp_path), scenes.pictures[:3]).features.shape == (3, ROWS**2, WIDTH)
    finally:
        torch.set_num_threads(threads)
