"""The small CLIP is an ordinary open_clip checkpoint and tells what its card says it tells."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.sample_web import clip_eval

FOLDER = Path(__file__).parents[3] / "pipelines" / "sample_web" / "clip"


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads((FOLDER / "card.json").read_text())


def test_open_clip_loads_it_and_it_is_small():
    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) <= 12_000_000
    assert all(torch.isfinite(p).all() for p in model.parameters())
    squashed = transform(_image(640, 256))
    assert squashed.shape == (3, 128, 128)


def _image(width: int, height: int):
    from PIL import Image

    return Image.new("RGB", (width, height), (200, 10, 10))


def test_the_tokenizer_survives_what_captions_hold():
    import open_clip

    tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    texts = ["a red circle", "A Red CIRCLE!", "", "日本語 🙂 zzz-unknown", "buy " * 300, "#&1|*@&|$#%"]
    tokens = tokenize(texts)
    assert tokens.shape == (len(texts), 40)
    end = tokens.max()
    assert (tokens == end).sum(1).eq(1).all()  # the one token that open_clip pools at, truncated or not
    known = tokenize(["a red circle"])[0]
    assert (tokenize(["a RED Circle"])[0] == known).all()
    assert len(set(known[:5].tolist())) == 5  # start, three known words, end: none is the unknown token


def test_it_tells_swapped_captions_on_scenes_it_never_saw(card: dict):
    found = clip_eval.scores(FOLDER, 40_000_000, 200)
    precision, recall = clip_eval.precision_recall(found["clean"], found["swapped"], card["thresholds"]["swapped"])
    assert recall >= 0.97
    assert precision >= 0.97
    for name in ("colour", "object", "count", "exchange"):
        measured = clip_eval.auc(found["clean"], found[name])
        assert measured == pytest.approx(card["test"][name]["auc"], abs=0.05)


def test_scores_are_the_same_twice():
    once, again = (clip_eval.scores(FOLDER, 41_000_000, 8)["clean"] for _ in range(2))
    assert np.array_equal(once, again)
