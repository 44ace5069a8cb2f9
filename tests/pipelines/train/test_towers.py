"""Vision towers: what is seen of them, open_clip's as transformers', and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.train.models import Built
from pipelines.train.towers import Sight, load_tower
from schemas.errors import WrongRequest
from schemas.train import TowerConfig
from tests.conftest import ROOT
from tests.pipelines.train.parts import WIDTH, picture

SMALL_CLIP = ROOT / "pipelines" / "sample_web" / "clip"


def open_clip_folder(folder: Path, **vision: Any) -> str:
    """An open_clip checkpoint with random weights; its text half and tokenizer are the sample web's."""
    import open_clip

    folder.mkdir()
    settings = json.loads((SMALL_CLIP / "open_clip_config.json").read_text())
    settings["model_cfg"] |= vision.pop("model", {})
    settings["preprocess_cfg"] |= {"size": 32} | vision.pop("preprocess", {})
    settings["model_cfg"]["vision_cfg"] = {
        "image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16, **vision,
    }  # fmt: skip
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SMALL_CLIP / name, folder / name)
    torch.manual_seed(3)
    model: Any = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "leading", "strategy", "tokens"),
    [
        ("clip", 1, "default", 16),
        ("siglip", 0, "full", 16),
        ("dinov2", 1, "default", 16),
        ("registers", 5, "default", 20),
    ],
)
def test_how_a_tower_sees(builder: Callable[..., Built], kind: str, leading: int, strategy: str, tokens: int) -> None:
    built = builder(kind)
    assert built.sight == Sight(side=28, patch=7, leading=leading)
    assert built.core.config.vision_feature_select_strategy == strategy
    assert built.image_tokens(40, 30) == tokens
    pixels = built.pictures([[picture()]])["pixel_values"]
    features = built.core.model.get_image_features(pixels).pooler_output
    assert features[0].shape == (tokens, 24)


def test_the_layer_is_the_one_asked_for(builder: Callable[..., Built], shelf: Path) -> None:
    """Features in front of the projector are the tower's hidden states of that layer, without the first token."""
    for layer in (-1, -2, -4):
        built = builder(tower_config=TowerConfig(model=str(shelf / "clip"), layer=layer))
        seen: list[torch.Tensor] = []
        built.projector.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        pixels = built.pictures([[picture()]])["pixel_values"]
        built.core.model.get_image_features(pixels)
        hidden = built.core.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        assert torch.equal(seen[0], hidden[layer][:, 1:])
        assert seen[0].shape[-1] == WIDTH
    with pytest.raises(WrongRequest, match=r"tower.layer -5: .* has 3 layers"):
        builder(tower_config=TowerConfig(model=str(shelf / "clip"), layer=-5))


def test_dinov2_at_another_side(builder: Callable[..., Built], shelf: Path) -> None:
    built = builder(tower_config=TowerConfig(model=str(shelf / "dinov2"), side=42))
    assert built.pictures([[picture()]])["pixel_values"].shape == (1, 3, 42, 42)
    inputs = built.processor(images=picture(), text="what is <image> ?", return_tensors="pt")
    assert int((inputs["input_ids"] == built.core.config.image_token_index).sum()) == built.image_tokens(40, 30) == 36
    built.model(**inputs)


def test_sides_that_cannot_be(shelf: Path) -> None:
    with pytest.raises(WrongRequest, match=r"side 42: .* sees 28 pixels and no other; leave tower.side out"):
        load_tower(TowerConfig(model=str(shelf / "clip"), side=42), torch.float32)
    with pytest.raises(WrongRequest, match=r"side 45 is no multiple of .* patches of 7 pixels; take 42"):
        load_tower(TowerConfig(model=str(shelf / "dinov2"), side=45), torch.float32)


def test_padding_keeps_what_cropping_cuts_off(builder: Callable[..., Built], shelf: Path) -> None:
    """A wide picture, red at its left end: cropped to its middle nothing is red, padded the end is there."""
    wide = picture(20, 80) * 0
    wide[:, :10, 0] = 255
    seen = {}
    for fit in ("pad", "own"):
        built = builder(tower_config=TowerConfig(model=str(shelf / "clip"), fit=fit))
        pixels = built.pictures([[wide]])["pixel_values"]
        assert pixels.shape == (1, 3, 28, 28)
        seen[fit] = (pixels[0, 0, 14, 0] > 1).item()
    assert seen == {"pad": True, "own": False}


@pytest.mark.parametrize(
    "vision",
    [{}, {"model": {"quick_gelu": True}}, {"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_heads": 4}],
    ids=["plain", "quick_gelu", "avg", "attentional"],
)
def test_an_open_clip_vit_gives_the_same_features(tmp_path: Path, vision: dict[str, Any]) -> None:
    import open_clip

    folder = open_clip_folder(tmp_path / "clip", **vision)
    tower = load_tower(TowerConfig(model=folder), torch.float32)
    assert tower.sight == Sight(side=32, patch=8, leading=1)
    theirs: Any = open_clip.create_model(f"local-dir:{folder}").eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.visual.forward_intermediates(pixels, intermediates_only=True, output_fmt="NLC")
        hidden = tower.model(pixels, output_hidden_states=True).hidden_states
    for layer in (-1, -2, -3):
        torch.testing.assert_close(hidden[layer][:, 1:], expected["image_intermediates"][layer], rtol=1e-4, atol=1e-5)


def test_an_open_clip_picture_is_prepared_as_there(tmp_path: Path) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    folder = open_clip_folder(tmp_path / "clip", preprocess={"resize_mode": "shortest"})
    tower = load_tower(TowerConfig(model=folder), torch.float32)
    smooth = picture(5, 4).repeat(16, 0).repeat(16, 1)
    settings = json.loads((Path(folder) / "open_clip_config.json").read_text())["preprocess_cfg"]
    theirs: Any = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    ours = tower.processor(smooth, return_tensors="pt")["pixel_values"][0]
    assert (ours - theirs(Image.fromarray(smooth))).abs().max() < 0.05  # of a range of 4: two antialiasings


def test_the_sample_webs_clip_is_refused_with_a_remedy() -> None:
    """Its vision half is a convolutional network: transformers' LLaVA has no place for one."""
    with pytest.raises(WrongRequest, match=r"no counterpart in .*CLIPVisionModel: its vision half is a .*; take a ViT"):
        load_tower(TowerConfig(model=str(SMALL_CLIP)), torch.float32)


@pytest.mark.parametrize(
    ("vision", "why"),
    [
        ({"layers": [1, 1, 1, 1], "width": 16}, "its vision half is a ModifiedResNet"),
        ({"ls_init_value": 0.1}, "its blocks are not plain ones"),
        ({"qk_norm": True}, "its blocks are not plain ones"),
        ({"no_ln_pre": True}, "it has no norm before its blocks"),
    ],
)
def test_open_clip_variants_that_transformers_does_not_compute(
    tmp_path: Path, vision: dict[str, Any], why: str
) -> None:
    folder = open_clip_folder(tmp_path / "clip", **vision)
    with pytest.raises(WrongRequest, match=why):
        load_tower(TowerConfig(model=folder), torch.float32)


def test_towers_that_are_none(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="is a llama; take a CLIP, SigLIP or DINOv2"):
        load_tower(TowerConfig(model=str(shelf / "llama")), torch.float32)
    with pytest.raises(WrongRequest, match="cannot be loaded"):
        load_tower(TowerConfig(model=str(tmp_path)), torch.float32)
    with pytest.raises(WrongRequest, match=r"tower\.model: clip\.model 'ViT-9000' is unknown"):
        load_tower(TowerConfig(model="ViT-9000", pretrained="openai"), torch.float32)


def test_a_tower_with_tensors_missing_is_not_filled_with_random_ones(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(shelf / "clip", folder)
    tensors = load_file(folder / "model.safetensors")
    lost = next(n for n in tensors if n.endswith("layers.1.mlp.fc1.weight"))
    save_file({n: t for n, t in tensors.items() if n != lost}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongRequest, match=r"lacks 1 of the model's tensors, .*layers.1.mlp.fc1.weight among them"):
        load_tower(TowerConfig(model=str(folder)), torch.float32)
