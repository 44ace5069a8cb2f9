"""Exports read by the programs that they are for. Slow: these are no dependencies of the project.

uv pip install --target /tmp/consumers --no-deps trl==1.16.0 llamafactory==0.9.5 axolotl==0.19.0 peft accelerate \\
    omegaconf antlr4-python3-runtime==4.9.3 addict av einops gguf hf-transfer sentencepiece
PYTHONPATH=/tmp/consumers uv run pytest -m slow tests/pipelines/test_export_consumers.py
"""

import importlib.machinery
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.export import ExportOptions, export
from stages.store import Store
from tests.builders import sid
from tests.pipelines.talking import talk, talking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    first = [
        talk("What is it?", "A box.", "How many?", "Two."),
        talk("How many?", "Two.", kind="preference", rejected="Five.", planted="wrong_count"),
        talk("Compare <image> and <image>.", "Alike.", kind="interleaved", images=[sid(0), sid(1)]),
    ]
    return talking(tmp_path_factory.mktemp("consumers") / "b", [first, []])


def processor() -> Any:
    """LLaVA's processor over single bytes: 28 pixels, four image tokens a picture."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    whole = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    whole.pre_tokenizer, whole.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "additional_special_tokens": ["<image>"]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=whole, **special)
    part = "{% if c['type'] == 'image' %}<image>{% elif 'text' in c %}{{ c['text'] }}{% endif %}"
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{% for c in m['content'] %}" + part + "{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    pixels = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    strategy = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    more = {"patch_size": 14, "chat_template": tokenizer.chat_template, "image_token": "<image>", **strategy}
    return LlavaProcessor(image_processor=pixels, tokenizer=tokenizer, **more)


def loaded(path: Path) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


def test_trl(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sft = pytest.importorskip("trl.trainer.sft_trainer")
    dpo = pytest.importorskip("trl.trainer.dpo_trainer")
    from datasets import Image, List

    export(store, "messages", tmp_path / "out", ExportOptions(images=True, captions=True))
    monkeypatch.chdir(tmp_path / "out")
    chat = processor()
    for name, wanted in {"train": 1, "train_several": 2, "train_captions": 1}.items():
        rows = list(loaded(Path(f"{name}.jsonl").absolute()).cast_column("images", List(Image())))
        batch = sft.DataCollatorForVisionLanguageModeling(chat, max_length=None)(rows)
        assert batch["pixel_values"].shape[0] == wanted
        assert chat.tokenizer.decode(batch["input_ids"][0]).count("<image>") == 4 * wanted
    rows = list(loaded(Path("train_pairs.jsonl").absolute()).cast_column("images", List(Image())))
    batch = dpo.DataCollatorForVisionPreference(chat)(rows)
    better, worse = (chat.tokenizer.decode(ids).replace("<pad>", "") for ids in batch["input_ids"])
    image = "<image>" * 4
    assert better == f"[user]{image}How many?[assistant]Two." and worse == f"[user]{image}How many?[assistant]Five."


@pytest.mark.parametrize("pictures", ["list", "path", "data"])
def test_axolotl(pictures: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = pytest.importorskip("axolotl.processing_strategies")
    collators = pytest.importorskip("axolotl.utils.collators.mm_chat")
    export(store, "messages", tmp_path / "out", ExportOptions(images=pictures != "data", pictures=pictures))
    monkeypatch.chdir(tmp_path / "out")
    chat = processor()
    collate = collators.MultiModalChatDataCollator(chat.tokenizer, strategies.ProcessingStrategy(chat))
    for name, wanted in {"train": 1, "train_several": 2}.items():
        if (pictures, name) != ("list", "train_several"):  # it takes the first picture only, as the page says
            batch = collate(list(loaded(Path(f"{name}.jsonl").absolute())))
            assert batch["pixel_values"].shape[0] == wanted
            assert chat.tokenizer.decode(batch["input_ids"][0]).count("<image>") == 4 * wanted


def test_llama_factory(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llamafactory")
    for name in ("transformers", "peft", "accelerate"):
        pytest.importorskip(name)
    audio = types.ModuleType("torchaudio")  # for sound alone, and built for another CUDA
    audio.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio", audio)
    from llamafactory.data.loader import _load_single_dataset  # pyright: ignore[reportMissingImports]
    from llamafactory.data.mm_plugin import get_mm_plugin  # pyright: ignore[reportMissingImports]
    from llamafactory.data.parser import get_dataset_list  # pyright: ignore[reportMissingImports]

    out = str(tmp_path / "out")
    export(store, "sharegpt", Path(out), ExportOptions(images=True, captions=True))
    data = {"streaming": False, "max_samples": None, "overwrite_cache": True, "preprocessing_num_workers": None}
    args = SimpleNamespace(dataset_dir=out, media_dir=out, **data)
    model = SimpleNamespace(cache_dir=str(tmp_path / "cache"), hf_hub_token=None)
    training = SimpleNamespace(local_process_index=0, seed=0)
    names = [f"hand-made_train{group}" for group in ("", "_several", "_pairs", "_captions")]
    read = {a.dataset_name: _load_single_dataset(a, model, args, training) for a in get_dataset_list(names, out)}
    plugin = get_mm_plugin("llava", image_token="<image>")
    for rows in read.values():
        for row in rows:
            assert row["_prompt"] and all(Path(p).is_file() for p in row["_images"])
            plugin._validate_messages(row["_prompt"] + row["_response"], row["_images"], [], [])
    (pair,) = read["train_pairs.jsonl"]
    assert [m["content"] for m in pair["_response"]] == ["Two.", "Five."]
