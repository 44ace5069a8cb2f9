"""A tower beside its model gives what the model's projector had got from it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.train.features.identity import fingerprint, identity
from pipelines.train.features.tower import take_out
from schemas.errors import WrongRequest
from schemas.train import TowerConfig
from schemas.train_loop import FeatureConfig
from tests.pipelines.train import parts
from tests.pipelines.train.conftest import Builder

CPU = torch.device("cpu")


def kept(folder: Path) -> FeatureConfig:
    return FeatureConfig(folder=str(folder))


@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2", "registers"])
def test_what_is_kept_is_what_enters_the_projector(
    builder: Builder, shelf: Path, tmp_path: Path, tower: str, layer: int
) -> None:
    built = builder(tower_config=TowerConfig(model=str(shelf / tower), layer=layer), precision="bf16")
    entered = list[torch.Tensor]()
    built.projector.register_forward_pre_hook(lambda module, given: entered.append(given[0]))
    how = {"vision_feature_layer": layer, "vision_feature_select_strategy": built.sight.strategy}
    pixels = built.pictures([[parts.picture(seed=1)], [parts.picture(seed=2)]])["pixel_values"]
    with torch.no_grad():
        wanted = built.core.model.get_image_features(pixels, **how)
        features = take_out(built, kept(tmp_path), CPU, autocast=False, writer="me")
        seen = features.see(pixels)
        found = built.core.model.get_image_features(seen, **how)
    assert seen.shape[1:] == features.cache.shape
    assert torch.equal(seen, entered[0])
    assert torch.equal(entered[1], entered[0])
    for mine, theirs in zip(found.pooler_output, wanted.pooler_output, strict=True):
        # SigLIP's features lie in memory patch by patch, and the CPU's product of bfloat16 rounds otherwise there
        torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.01)


def test_the_folder_is_that_of_tower_and_preprocessing(builder: Builder, shelf: Path, tmp_path: Path) -> None:
    def told(**more: Any) -> str:
        return fingerprint(identity(builder(**more), CPU, autocast=False))

    clip = str(shelf / "clip")
    other = parts.tower(tmp_path / "other", "clip", seed=3)
    found = [
        told(),
        told(tower_config=TowerConfig(model=clip, layer=-1)),
        told(tower_config=TowerConfig(model=clip, fit="own")),
        told(tower="siglip"),
        told(tower_config=TowerConfig(model=other)),
        told(precision="bf16"),
        fingerprint(identity(builder(), CPU, autocast=True)),
    ]
    assert len(set(found)) == len(found)
    assert told(language="tied") == found[0] == told()
    folder = take_out(builder(), kept(tmp_path / "kept"), CPU, autocast=False, writer="me").cache.folder
    assert folder == tmp_path / "kept" / found[0]
    assert json.loads((folder / "features.json").read_text())["layer"] == -2


def test_what_cannot_be_kept_is_refused(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tiles = builder(family="llava_next")
    for built, folder, words in [
        (tiles, str(tmp_path), "family llava_next sees a picture as tiles"),
        (builder(), "s3://bucket/features", "is no local folder"),
        (builder(), str(tmp_path / "file"), "cannot be written"),
    ]:
        with pytest.raises(WrongRequest, match=words):
            take_out(built, FeatureConfig(folder=folder), CPU, autocast=False, writer="me")
