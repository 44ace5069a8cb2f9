"""A language model in 4 bits: what it needs, what it is refused beside, and what transformers is handed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from pipelines.train import quantize
from pipelines.train.freeze import trainable
from pipelines.train.loop.config_file import checked
from pipelines.train.loop.ready import loaded
from schemas.errors import WrongRequest
from schemas.train import LanguageConfig
from tests.pipelines.train.conftest import Builder


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch finds a CUDA device, and bitsandbytes is installed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(quantize, "find_spec", lambda name: object())


def config(shelf: Path) -> LanguageConfig:
    return LanguageConfig(model=str(shelf / "llama"), quantize="nf4")


def test_without_a_device_it_is_refused(builder: Builder, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WrongRequest, match=r"language\.quantize: nf4 needs a CUDA device, and torch finds none"):
        builder(language_config=config(shelf))


@pytest.mark.usefixtures("device")
def test_without_its_package_it_is_refused(builder: Builder, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "find_spec", lambda name: None if name == "bitsandbytes" else object())
    with pytest.raises(WrongRequest, match="needs the package bitsandbytes; install the extra: uv sync --extra cuda"):
        builder(language_config=config(shelf))


@pytest.mark.usefixtures("device")
def test_a_packed_file_is_refused(builder: Builder, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(WrongRequest, match=r"model\.gguf is packed already"):
        builder(language_config=LanguageConfig(model=str(file), quantize="nf4"))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_transformers_is_asked_for_nf4_in_the_models_precision(
    builder: Builder, shelf: Path, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: Any
) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, **words: Any) -> Any:
        asked.update(words)
        raise OSError("enough")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load)
    with pytest.raises(WrongRequest, match="enough"):
        builder(language_config=config(shelf), precision=precision)
    packed = asked["quantization_config"]
    assert (packed.load_in_4bit, packed.bnb_4bit_quant_type, packed.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert (packed.bnb_4bit_compute_dtype, asked["dtype"], asked["device_map"]) == (dtype, dtype, {"": 0})


def raw(shelf: Path, *learn: str, **more: Any) -> dict[str, Any]:
    data = {"sources": [{"path": "builds/some"}]}
    stages = [{"name": f"s{i}", "data": data, "freeze": {"train": one}} for i, one in enumerate(learn)]
    language = {"model": str(shelf / "llama"), "quantize": "nf4"}
    return {"model": {"tower": {"model": str(shelf / "clip")}, "language": language}, "stages": stages} | more


def test_only_what_is_added_to_it_learns(shelf: Path) -> None:
    for learn, more, words in [
        (["projector", "language"], {}, r"set freeze\.train to projector or lora"),
        (["lora", "lora"], {}, "the stage with adapters must be the last one"),
        (["lora"], {"parallel": "fsdp2"}, "needs device cuda"),
        (["lora"], {"device": "cpu"}, "needs device cuda"),
    ]:
        with pytest.raises(WrongRequest, match=words):
            checked(raw(shelf, *learn, **more), "a test")
    assert checked(raw(shelf, "projector", "lora"), "a test").stages[1].freeze.train == "lora"


def test_what_is_saved_is_in_its_own_precision(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what learns is loaded in 4 bits, so a run's result needs no device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = checked(raw(shelf, "lora"), "a test")
    assert not loaded(told, tmp_path, 0).core.is_loaded_in_4bit
    with pytest.raises(WrongRequest, match="needs a CUDA device"):
        loaded(told, tmp_path, 0, learns=True)


def test_values_are_counted_as_they_were(builder: Builder) -> None:
    built = builder()
    before = trainable(built.model).total
    weight = built.core.model.language_model.layers[0].mlp.up_proj.weight
    weight.quant_state = SimpleNamespace(shape=weight.shape)
    weight.data = torch.zeros(weight.numel() // 2, 1)
    assert trainable(built.model).total == before
