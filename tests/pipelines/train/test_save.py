"""Saved models: stock transformers gives the same logits to the bit, parts come together, torn ones are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pipelines.train.freeze import freeze
from pipelines.train.load import load_model
from pipelines.train.models import Built
from pipelines.train.save import load_projector, save_model, save_projector
from schemas.errors import WrongData, WrongRequest
from schemas.train import (
    CAbstractorConfig,
    FreezeConfig,
    LinearConfig,
    LoraConfig,
    MlpConfig,
    PerceiverConfig,
    PixelShuffleConfig,
    ProjectorConfig,
    QformerConfig,
)
from tests.pipelines.train.parts import picture

EXTRA: dict[str, ProjectorConfig] = {
    "mlp of 3": MlpConfig(depth=3),
    "qformer": QformerConfig(queries=5, width=16, layers=2, heads=2, hidden=24),
    "perceiver": PerceiverConfig(queries=5, layers=2, heads=2, head_width=6, expansion=2),
    "c_abstractor": CAbstractorConfig(side=2, depth=1, width=16),
    "pixel_shuffle": PixelShuffleConfig(),
}


def asked(processor: Any) -> dict[str, Any]:
    """Two questions about one picture each, and one without."""
    text = ["what is <image> ?", "<image> a red ball : yes", "what is in"]
    pictures = [[picture(40, 30)], [picture(20, 90, 1)], []]
    return dict(processor(images=pictures, text=text, padding=True, return_tensors="pt"))


@torch.no_grad()
def logits(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    return model(**inputs).logits


@pytest.mark.parametrize(
    ("family", "tower", "language", "projector"),
    [
        ("llava", "clip", "llama", MlpConfig()),
        ("llava", "siglip", "tied", LinearConfig()),
        ("llava", "registers", "llama", LinearConfig()),
        ("llava_next", "clip", "tied", MlpConfig()),
        ("llava_next", "dinov2", "llama", LinearConfig()),
        ("llava_onevision", "siglip", "llama", MlpConfig()),
        ("llava_onevision", "clip", "tied", MlpConfig()),
    ],
)
def test_stock_transformers_loads_it_and_says_the_same(
    builder: Callable[..., Built], tmp_path: Path, family: str, tower: str, language: str, projector: ProjectorConfig
) -> None:
    built = builder(tower, language, family=family, projector=projector)
    inputs = asked(built.processor)
    before = logits(built.model, inputs)
    save_model(built, tmp_path / "model")
    stock, found = getattr(transformers, type(built.model).__name__).from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not found["missing_keys"] and not found["unexpected_keys"]
    again = asked(transformers.AutoProcessor.from_pretrained(tmp_path / "model"))
    assert inputs.keys() == again.keys()
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)
    assert torch.equal(logits(stock.eval(), again), before)
    ours = load_model(tmp_path / "model")
    assert ours.projector_config == projector
    assert ours.sight == built.sight
    assert torch.equal(logits(ours.model, inputs), before)


@pytest.mark.parametrize("projector", [MlpConfig(), EXTRA["perceiver"]], ids=["stock", "parts"])
def test_attention_is_chosen_again_at_loading(
    builder: Callable[..., Built], tmp_path: Path, projector: ProjectorConfig
) -> None:
    save_model(builder(projector=projector), tmp_path / "model")
    for attention in ("eager", "sdpa"):
        core = load_model(tmp_path / "model", attention).core
        assert core.model.language_model.config._attn_implementation == attention
        assert core.model.vision_tower.config._attn_implementation == "sdpa"


def test_stock_transformers_generates(builder: Callable[..., Built], tmp_path: Path) -> None:
    built = builder()
    save_model(built, tmp_path / "model")
    stock = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "model")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    inputs = processor(images=picture(), text="what is <image> ?", return_tensors="pt")
    said = stock.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=-1)
    assert said.shape[1] == inputs["input_ids"].shape[1] + 4


@pytest.mark.parametrize(
    ("kind", "language"), list(zip(EXTRA, ["llama", "tied", "llama", "tied", "llama"], strict=True))
)
def test_extra_projectors_come_back_from_parts(
    builder: Callable[..., Built], tmp_path: Path, kind: str, language: str
) -> None:
    built = builder("registers" if kind == "pixel_shuffle" else "clip", language, projector=EXTRA[kind])
    inputs = asked(built.processor)
    before = logits(built.model, inputs)
    save_model(built, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert torch.equal(logits(again.model, asked(again.processor)), before)
    assert again.projector_config == EXTRA[kind]
    assert again.image_tokens(40, 30) == built.image_tokens(40, 30)
    with pytest.raises(OSError, match="no file named"):
        transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "model")
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model" / "language_model")
    with pytest.raises(WrongRequest, match=r"model exists; name a new folder"):
        save_model(built, tmp_path / "model")


@pytest.mark.parametrize("projector", [MlpConfig(), EXTRA["perceiver"]], ids=["stock", "parts"])
def test_adapters_are_saved_as_sums_and_stay_as_they_are(
    builder: Callable[..., Built], tmp_path: Path, projector: ProjectorConfig
) -> None:
    built = freeze(builder(projector=projector), FreezeConfig(train="lora", lora=LoraConfig(rank=2, dropout=0)))
    with torch.no_grad():
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3)
    values = {name: parameter.clone() for name, parameter in built.model.named_parameters()}
    inputs = asked(built.processor)
    adapted = logits(built.model, inputs)
    with built.model.disable_adapter():
        assert not torch.allclose(logits(built.model, inputs), adapted, atol=1e-3)
    save_model(built, tmp_path / "model")
    assert all(torch.equal(parameter, values[name]) for name, parameter in built.model.named_parameters())
    saved = load_model(tmp_path / "model")
    torch.testing.assert_close(logits(saved.model, inputs), adapted, rtol=1e-5, atol=1e-6)
    merged = built.model.merge_and_unload()
    assert torch.equal(logits(saved.model, inputs), logits(merged, inputs))


def test_bf16_stays_bf16(builder: Callable[..., Built], tmp_path: Path) -> None:
    built = builder(precision="bf16", projector=LinearConfig())
    assert {p.dtype for p in built.model.parameters()} == {torch.bfloat16}
    inputs = asked(built.processor)
    save_model(built, tmp_path / "model")
    stock = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert torch.equal(logits(stock.eval(), inputs), logits(built.model, inputs))
    assert {p.dtype for p in load_model(tmp_path / "model").model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_a_projector_alone(builder: Callable[..., Built], tmp_path: Path, family: str) -> None:
    one, other = builder(family=family), builder(family=family, seed=1)
    inputs = asked(one.processor)
    assert not torch.equal(logits(one.model, inputs), logits(other.model, inputs))
    save_projector(one, tmp_path / "projector")
    assert sorted(p.name for p in (tmp_path / "projector").iterdir()) == ["projector.json", "projector.safetensors"]
    load_projector(other, tmp_path / "projector")
    assert torch.equal(logits(one.model, inputs), logits(other.model, inputs))


def test_a_projector_for_another_model(builder: Callable[..., Built], tmp_path: Path) -> None:
    save_projector(builder(), tmp_path / "mlp")
    with pytest.raises(WrongRequest, match=r"made for another model .*projector: kind='mlp' depth=2 in the file"):
        load_projector(builder(projector=LinearConfig()), tmp_path / "mlp")
    with pytest.raises(WrongRequest, match="newline: False in the file and True in the model"):
        load_projector(builder(family="llava_next"), tmp_path / "mlp")


def test_a_projectors_card_that_lies_about_its_shapes(builder: Callable[..., Built], tmp_path: Path) -> None:
    built = builder()
    save_projector(built, tmp_path / "p")
    tensors = load_file(tmp_path / "p" / "projector.safetensors")
    save_file(tensors | {"linear_1.weight": torch.zeros(24, 17)}, tmp_path / "p" / "projector.safetensors")
    with pytest.raises(WrongData, match=r"linear_1.weight is \(24, 17\) and should be \(24, 16\)"):
        load_projector(built, tmp_path / "p")
    save_file({"linear_1.weight": tensors["linear_1.weight"]}, tmp_path / "p" / "projector.safetensors")
    with pytest.raises(WrongData, match=r"linear_1.bias is nothing and should be \(24,\)"):
        load_projector(built, tmp_path / "p")


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_llavas_own_projector_file(builder: Callable[..., Built], tmp_path: Path, family: str) -> None:
    one, other = builder(family=family), builder(family=family, seed=1)
    theirs = {"linear_1": "0", "linear_2": "2"}
    state = {
        f"model.mm_projector.{theirs[name]}.{end}": getattr(one.projector.get_submodule(name), end).detach()
        for name in theirs
        for end in ("weight", "bias")
    }
    if family == "llava_next":
        state["model.image_newline"] = one.core.model.image_newline.detach()
    torch.save(state, tmp_path / "mm_projector.bin")
    load_projector(other, tmp_path / "mm_projector.bin")
    inputs = asked(one.processor)
    assert torch.equal(logits(one.model, inputs), logits(other.model, inputs))
    with pytest.raises(WrongRequest, match=r"mm_projector.bin was made for another model \(.* should be "):
        load_projector(builder(projector=MlpConfig(depth=3)), tmp_path / "mm_projector.bin")


def test_files_that_are_no_projector_of_llavas(builder: Callable[..., Built], tmp_path: Path) -> None:
    built, file = builder(), tmp_path / "mm_projector.bin"
    with pytest.raises(WrongRequest, match="there is no projector"):
        load_projector(built, file)
    torch.save({"lm_head.weight": torch.zeros(1)}, file)
    with pytest.raises(WrongData, match=r"holds lm_head\.weight, which is no part of a projector"):
        load_projector(built, file)
    torch.save(Path("/"), file)  # an object that only running its constructor can make
    with pytest.raises(WrongData, match="cannot be read"):
        load_projector(built, file)
    file.write_bytes(b"not a file of torch")
    with pytest.raises(WrongData, match="cannot be read"):
        load_projector(built, file)


def test_torn_projectors(builder: Callable[..., Built], tmp_path: Path) -> None:
    built = builder()
    save_projector(built, tmp_path / "p")
    file = tmp_path / "p" / "projector.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(WrongData, match="cannot be read"):
        load_projector(built, tmp_path / "p")
    (tmp_path / "p" / "projector.json").write_text(json.dumps({"projector": {"kind": "resampler"}}))
    with pytest.raises(WrongData, match="projector"):
        load_projector(built, tmp_path / "p")
    with pytest.raises(WrongRequest, match=r"holds no projector\.json"):
        load_projector(built, tmp_path)


def test_a_linear_projector_that_was_trained_elsewhere(builder: Callable[..., Built], tmp_path: Path) -> None:
    save_model(builder(projector=LinearConfig()), tmp_path / "model")
    stock = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        stock.model.multi_modal_projector.linear_2.weight.add_(0.1)  # pyright: ignore
    stock.save_pretrained(tmp_path / "model")
    with pytest.raises(WrongData, match="a second layer that changes something"):
        load_model(tmp_path / "model")


def test_weights_that_are_missing_are_not_made_up(builder: Callable[..., Built], tmp_path: Path) -> None:
    save_model(builder(), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if "linear_2.bias" not in n}, file, metadata={"format": "pt"})
    with pytest.raises(WrongRequest, match=r"lacks 1 of the model's tensors, .*linear_2.bias among them"):
        load_model(tmp_path / "model")


def test_a_save_that_fails_leaves_no_folder(
    builder: Callable[..., Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = builder()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(built.processor, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(built, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    monkeypatch.undo()
    save_model(built, tmp_path / "model")
    assert load_model(tmp_path / "model").image_tokens(1, 1) == 16
