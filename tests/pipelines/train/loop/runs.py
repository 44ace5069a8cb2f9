"""Tiny runs: a model of random parts, a build of conversations, and the configuration that joins them."""

import random
from pathlib import Path
from typing import Any

import yaml

from pipelines.train.loop.config_file import checked
from schemas.conversation import Conversation
from schemas.train_loop import TrainConfig, TrainStage
from tests.builders import sid
from tests.pipelines.talking import talk, talking
from tests.pipelines.train import parts
from tests.pipelines.train.batches.tokenizers_of import VICUNA, tokenizer

SAMPLES = 24


def conversations(samples: int = SAMPLES, seed: int = 5) -> list[list[Conversation]]:
    """1 or 2 of two kinds and many lengths per sample, one in eight over two pictures."""
    dice, out = random.Random(seed), list[list[Conversation]]()
    for i in range(samples):
        said = [
            talk("what is in the picture ?", " ".join(dice.choices(parts.WORDS, k=dice.randint(1, 9))), kind=kind)
            for kind in (["vqa"] if i % 2 else ["vqa", "caption"])
        ]
        if i % 8 == 3:
            pictures = [sid(i), sid((i + 5) % samples)]
            said.append(talk("<image> or <image> ?", "two red", kind="interleaved", images=pictures))
        out.append(said)
    return out


def shelf(folder: Path) -> None:
    """clip/, llama/ and build/."""
    parts.tower(folder / "clip", "clip")
    language(folder / "llama")
    talking(folder / "build", conversations(), max_samples=7)


def language(folder: Path) -> None:
    """A Llama of two layers with a byte-level tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer(template=VICUNA, image=None)
    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(words),
        max_position_embeddings=256, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)


def raw(folder: Path, **more: Any) -> dict[str, Any]:
    """Two stages over the shelf, as a YAML file has them: the projector on captions, then adapters on packed
    conversations, with dropout. `more`: keys of the second stage, or of the run."""
    data = {"sources": [{"path": str(folder / "build"), "repeats": None}], "seed": 3, "window": 2}
    align = {
        "name": "align", "data": data, "steps": 3, "optim": {"lr": 0.01},
        "batches": {"text": "caption", "arrange": "pad", "rows": 3, "max_length": 64, "window": 6},
    }  # fmt: skip
    tune = {
        "name": "tune", "data": data, "steps": 6, "accumulate": 2, "optim": {"lr": 0.01, "weight_decay": 0.1},
        "freeze": {"train": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.2}},
        "batches": {"max_length": 96, "row_length": 128, "window": 6},
    }  # fmt: skip
    run = {
        "model": {"tower": {"model": str(folder / "clip")}, "language": {"model": str(folder / "llama")}},
        "stages": [align, tune], "device": "cpu", "threads": 1, "checkpoints": {"every": 2},
    }  # fmt: skip
    for name, value in more.items():
        (tune if name in TrainStage.model_fields else run)[name] = value
    return run


def config(folder: Path, **more: Any) -> TrainConfig:
    """`raw`, checked."""
    return checked(raw(folder, **more), "a test")


def one_stage(folder: Path, **more: Any) -> dict[str, Any]:
    """`raw` with its second stage alone."""
    run = raw(folder, **more)
    return run | {"stages": run["stages"][1:]}


def written(folder: Path, name: str, run: dict[str, Any]) -> Path:
    """A YAML file of it."""
    path = folder / name
    path.write_text(yaml.safe_dump(run))
    return path


def pure(run: Path) -> dict[str, bytes]:
    """All files of a run that have no clock in them, but for its checkpoints."""
    found = (p for p in run.rglob("*") if p.is_file() and p.relative_to(run).parts[0] not in ("logs", "checkpoints"))
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(found)}
