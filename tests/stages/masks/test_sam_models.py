"""Which SAM a recipe names: what is wrong with it is said, and what it is does not depend on where it lies."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.errors import WrongRequest
from schemas.mask import Prompt
from stages.masks.backend import Prompts
from tests.stages.masks.tiny_sam import backend, same, saved, tiny_processor, tiny_sam

BOXES = ((3.0, 5.0, 40.0, 30.0), (20.5, 10.25, 12.0, 33.5))


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SamProcessor

    return saved(tmp_path_factory.mktemp("sam"), tiny_sam(1), SamProcessor(tiny_processor()))


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [render(make_scene(0), (100, 60))]


def test_it_pickles_before_open_and_after_close(sam_folder: Path, pictures: list[np.ndarray]) -> None:
    asked = [Prompts(boxes=BOXES)]
    first = pickle.loads(pickle.dumps(backend(sam_folder)))
    with pytest.raises(RuntimeError, match="not open"):
        first.find(pictures[:1], asked)
    first.open()
    found = first.find(pictures[:1], asked)
    first.close()
    first.close()
    second = pickle.loads(pickle.dumps(first))
    second.open()
    second.open()
    again = second.find(pictures[:1], asked)
    second.close()
    assert same(found[0], again[0])


def test_threads_are_put_back(sam_folder: Path) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        finder = backend(sam_folder)
        finder.open()
        assert torch.get_num_threads() == 1
        finder.close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_identity_is_of_the_files_and_not_of_their_place(sam_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sam_folder, copy)
    (copy / "README.md").write_text("a card")
    mine = backend(sam_folder).identity()
    assert mine == backend(copy).identity()
    assert str(sam_folder) not in json.dumps(mine)
    assert mine["model"]["model_type"] == "sam"
    assert set(mine["model"]["files"]) >= {"config.json", "model.safetensors"}
    saved(copy, tiny_sam(2), tiny_processor())
    other = backend(copy).identity()
    assert other["model"]["files"]["model.safetensors"] != mine["model"]["files"]["model.safetensors"]


def test_an_image_processor_alone_is_enough(sam_folder: Path, tmp_path: Path, pictures: list[np.ndarray]) -> None:
    """What some checkpoints have: preprocessor_config.json, of the image processor."""
    found = []
    for folder in (sam_folder, saved(tmp_path, tiny_sam(1), tiny_processor())):
        finder = backend(folder)
        finder.open()
        found += finder.find(pictures[:1], [Prompts(boxes=BOXES)])
        finder.close()
    assert same(found[0], found[1])


def _edit(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def _without_decoder(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "iou_prediction_head" not in k},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _larger(folder: Path) -> None:
    from transformers import SamImageProcessor, SamProcessor

    SamProcessor(SamImageProcessor()).save_pretrained(folder)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "another model": (lambda f: _edit(f, model_type="llava"), "is a 'llava', no SAM; name one of sam, sam2"),
    "no model_type": (lambda f: (f / "config.json").write_text("{}"), "has no model_type"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    "no folder": (shutil.rmtree, "there is no such folder"),
    "words alone": (lambda f: _edit(f, model_type="sam3"), "takes words alone"),
    "weights missing": (_without_decoder, "lacks .* of its weights, such as mask_decoder.iou_prediction_head"),
    "weights cut": (_cut, "cannot be loaded"),
    "no processor": (lambda f: (f / "processor_config.json").unlink(), "cannot be loaded"),
    "another side": (_larger, "processor makes 1024 pixels, the model takes 64"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_a_wrong_model_is_named(what: str, sam_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sam_folder, folder)
    spoil, message = WRONG[what]
    spoil(folder)
    with pytest.raises(WrongRequest, match=message):
        backend(folder).open()


def test_words_need_sam3(sam_folder: Path) -> None:
    with pytest.raises(WrongRequest, match="takes no words"):
        backend(sam_folder, Prompt.text)
