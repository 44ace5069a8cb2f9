"""SAM 3 and words: what plain transformers gives, however pictures and words are batched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.mask import Prompt
from schemas.masks_config import MasksConfig, SamConfig
from stages.masks.backend import Prompts
from stages.masks.sam_backend import SamBackend
from stages.masks.words import MOST_TOKENS
from tests.stages.masks.tiny_sam import saved, tiny_sam3, tiny_sam3_processor

LEAST = 0.45


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("sam3"), tiny_sam3(2), tiny_sam3_processor())


@pytest.fixture(scope="module")
def finder(folder: Path) -> Iterator[SamBackend]:
    sam = SamConfig(model=str(folder), precision="fp32", device="cpu", pictures_per_pass=2, word_score=LEAST)
    one = SamBackend(MasksConfig(backend="sam", prompt=Prompt.text, sam=sam))
    one.open()
    yield one
    one.close()


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [render(make_scene(s), size) for s, size in enumerate([(100, 60), (64, 96), (50, 50)])]


def transformers_says(folder: Path, rgb: np.ndarray, word: str) -> dict[str, Any]:
    import torch
    from PIL import Image
    from transformers import Sam3Model, Sam3Processor

    model, processor = Sam3Model.from_pretrained(folder).eval(), Sam3Processor.from_pretrained(folder)
    inputs = processor(images=Image.fromarray(rgb), text=word, return_tensors="pt")
    with torch.inference_mode():
        said = model(**inputs)
    (found,) = processor.post_process_instance_segmentation(said, threshold=LEAST, target_sizes=[rgb.shape[:2]])
    return found


@pytest.mark.parametrize("word", ["dog", "red ball"])
def test_one_picture_and_one_word_give_what_transformers_gives(
    word: str, finder: SamBackend, folder: Path, pictures: list[np.ndarray]
) -> None:
    rgb = pictures[0]
    theirs = transformers_says(folder, rgb, word)
    order = theirs["scores"].argsort(descending=True)
    masks, scores = theirs["masks"][order].bool().numpy(), theirs["scores"][order].numpy()
    filled = masks.any((1, 2))
    (ours,) = finder.find([rgb], [Prompts(words=(word,))])
    assert len(ours) == filled.sum() >= 2
    assert [f.score for f in ours] == pytest.approx(scores[filled].tolist(), rel=1e-5)
    for mine, other in zip(ours, masks[filled], strict=True):
        assert np.array_equal(mine.on(*rgb.shape[:2]), other)
    assert all(f.best and f.predicted_iou is None and f.prompt_index == 0 for f in ours)


def test_a_ragged_batch_gives_what_each_word_gives_alone(finder: SamBackend, pictures: list[np.ndarray]) -> None:
    asked = [("dog", "a red ball", "sky"), (), ("cat",)]
    before = finder.encoded_pictures
    batched = finder.find(pictures, [Prompts(words=words) for words in asked])
    assert finder.encoded_pictures == before + 2
    for rgb, words, found in zip(pictures, asked, batched, strict=True):
        for index, word in enumerate(words):
            (alone,) = finder.find([rgb], [Prompts(words=(word,))])
            mine = [f for f in found if f.prompt_index == index]
            assert [f.box for f in mine] == [f.box for f in alone]
            assert [f.score for f in mine] == pytest.approx([f.score for f in alone], rel=1e-4)
    assert any(batched)


def test_a_word_tells_masks_apart_and_its_end_may_be_cut(finder: SamBackend, pictures: list[np.ndarray]) -> None:
    long = " ".join(["dog"] * (MOST_TOKENS - 2))
    words = ("dog", "sky", long, f"{long} sky sky")
    (found,) = finder.find(pictures[:1], [Prompts(words=words)])
    scores = [[f.score for f in found if f.prompt_index == index] for index in range(4)]
    assert scores[0] != scores[1]
    assert scores[2] == pytest.approx(scores[3], rel=1e-4)


def test_a_picture_without_words_gives_none(finder: SamBackend, pictures: list[np.ndarray]) -> None:
    assert finder.find(pictures, [Prompts(boxes=((1.0, 1.0, 5.0, 5.0),))] * 3) == [[], [], []]
