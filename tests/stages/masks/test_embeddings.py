"""Embeddings on disk: they change no mask, whatever lies in the folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.mask import Prompt
from stages.masks.backend import Prompts
from stages.masks.embeddings import Embeddings
from stages.masks.sam import Sam, Sam2, SamHq
from tests.stages.masks.tiny_sam import (
    backend,
    saved,
    tiny_hq,
    tiny_processor,
    tiny_sam,
    tiny_sam2,
    tiny_sam2_processor,
)

BOXES = Prompts(boxes=((3.0, 5.0, 40.0, 30.0), (20.5, 10.25, 12.0, 33.5)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("sam"), tiny_sam(1), tiny_processor())


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [render(make_scene(s), size) for s, size in enumerate([(100, 60), (64, 96), (50, 50)])]


def run(folder: Path, kept: Path | None, prompt: Prompt, pictures: list[np.ndarray]) -> tuple[Any, int]:
    """(everything about the masks, how many pictures went through the encoder)."""
    loose = {"points_per_side": 3, "predicted_iou": 0.0, "stability": 0.0, "smallest_region": 0, "threshold": 0.2}
    finder = backend(folder, prompt, kept, **loose)
    finder.open()
    found = finder.find(pictures, [BOXES] * len(pictures))
    encoded = finder.encoded_pictures
    finder.close()
    return [[(f.box, f.pixels.tobytes(), f.predicted_iou, f.stability, f.best) for f in one] for one in found], encoded


def test_other_prompts_over_the_same_pictures_run_no_encoder(
    folder: Path, tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    kept = tmp_path / "kept"
    first, encoded = run(folder, kept, Prompt.everything, pictures)
    assert encoded == 3
    assert any(first)
    again, encoded = run(folder, kept, Prompt.everything, pictures)
    assert (again, encoded) == (first, 0)  # To the last bit.
    boxes, encoded = run(folder, kept, Prompt.box, pictures)
    assert encoded == 0
    assert boxes == run(folder, tmp_path / "other", Prompt.box, pictures)[0]
    assert len(list(kept.rglob("*.safetensors"))) == len(list(kept.rglob("*.*"))) == 3


def test_what_a_picture_gets_does_not_depend_on_what_is_kept(
    folder: Path, tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    """In batches of another cut, the encoder's last bits would differ."""
    run(folder, tmp_path, Prompt.box, [pictures[1]])
    run(folder, tmp_path, Prompt.box, [pictures[2], pictures[0]])
    assert run(folder, tmp_path, Prompt.box, pictures) == (run(folder, tmp_path / "b", Prompt.box, pictures)[0], 0)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other(path: Path) -> None:
    """A whole file of the same shapes, without the sum that its writer adds."""
    from safetensors.torch import load_file, save_file

    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "text", "other"])
def test_a_damaged_file_is_written_again(how: str, folder: Path, tmp_path: Path, pictures: list[np.ndarray]) -> None:
    spoil = {
        "flipped": flipped, "cut": lambda p: p.write_bytes(p.read_bytes()[:-40]), "empty": lambda p: p.write_bytes(b""),
        "text": lambda p: p.write_text("nothing of the kind" * 9), "other": other,
    }  # fmt: skip
    good, _ = run(folder, tmp_path, Prompt.box, pictures[:1])
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    spoil[how](path)
    assert path.read_bytes() != whole
    assert run(folder, tmp_path, Prompt.box, pictures[:1]) == (good, 1)
    assert path.read_bytes() == whole


def test_other_weights_and_other_pictures_have_other_files(
    folder: Path, tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    sam = Sam(tiny_sam(1), tiny_processor())
    rgb = pictures[0]
    mine = Embeddings(tmp_path, sam, {"weights": "a"})
    turned = np.ascontiguousarray(rgb.reshape(rgb.shape[1], rgb.shape[0], 3))
    names = {
        mine.path(rgb), mine.path(turned), mine.path(rgb[:-1]), mine.path(rgb ^ 1),
        Embeddings(tmp_path, sam, {"weights": "b"}).path(rgb),
        Embeddings(tmp_path, SamHq(tiny_hq(1), tiny_processor()), {"weights": "a"}).path(rgb),
    }  # fmt: skip
    assert len(names) == 6
    assert mine.path(rgb) == mine.path(np.asfortranarray(rgb))


@pytest.mark.parametrize("half", [False, True])
def test_each_family_and_precision_comes_back_as_it_was(half: bool, tmp_path: Path, pictures: list[np.ndarray]) -> None:
    import torch

    for sam in (SamHq(tiny_hq(1), tiny_processor(), torch.bfloat16 if half else None),
                Sam2(tiny_sam2(1), tiny_sam2_processor(), torch.bfloat16 if half else None)):  # fmt: skip
        kept = Embeddings(tmp_path, sam, {"half": half})
        made, read = kept.embed(pictures[:2]), kept.embed(pictures[:2])
        assert sam.encoded_pictures == 2
        assert made.sizes == read.sizes == ((60, 100), (96, 64))
        for one, again in zip(made.features, read.features, strict=True):
            assert one.dtype == again.dtype == (torch.bfloat16 if half else torch.float32)
            assert torch.equal(one, again)


def test_a_write_that_fails_leaves_nothing(
    folder: Path, tmp_path: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        Embeddings(tmp_path, Sam(tiny_sam(1), tiny_processor()), {}).embed(pictures[:1])
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_whether_pictures_are_embedded_alone_is_part_of_the_identity(folder: Path, tmp_path: Path) -> None:
    without, kept = backend(folder).identity(), backend(folder, embeddings=tmp_path).identity()
    assert without != kept == backend(folder, embeddings=tmp_path / "elsewhere").identity()
