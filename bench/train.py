"""`python -m bench train [--model tiny|vit-l-336 …] [--language tiny|1b|7b] [--stage align|lora] [--device cpu|cuda]`:
training steps of ours against LLaVA's own way.

LLaVA's way (haotian-liu/LLaVA, llava/train): transformers' Trainer over padded batches, every example a row, pictures
decoded and prepared by the data loader's workers. ours, packed and ours, padded: `pairmill train`, from the stream. The
same weights, conversations, tokens, labels and precision; what learns is float32 under autocast in all three.

`label tokens/s`: of text that is learnt from, which is what a run is for. `padding %`: of the tokens computed. `data
wait %`: of the time, without a batch. `MFU`: work as PaLM counts it (pipelines/train/loop/flops.py), without padding
and recomputation, by the device's bf16 peak. `memory`: torch's peak in GiB (CUDA). The first steps are left out.

Weights are random: they are enough for time. Needs transformers with accelerate, tokenizers, pyarrow, duckdb and numpy
beside torch, and peft for --stage lora; neither ray nor open_clip.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import report
from bench.train_data import conversing
from bench.train_parts import LANGUAGES, TOWERS, random_parts

_WARM = 3


def run(args: list[str]) -> None:
    """Measure, print, write bench/results/train[-MODEL-LANGUAGE-STAGE-DEVICE].md and .json."""
    asked = _arguments(args)
    with random_parts(asked, "train") as (folder, dtype):
        _measure(asked, folder, dtype)


def _measure(asked: Any, folder: Path, dtype: Any) -> None:
    import torch

    from bench.train_peer import trainer_steps

    conversing(folder / "data", (asked.steps + _WARM) * asked.rows * 2)
    torch.set_num_threads(asked.threads)
    ways: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "ours, packed": lambda: _ours(asked, folder, "pack"),
        "ours, padded": lambda: _ours(asked, folder, "pad"),
        "LLaVA's way: Trainer, padded": lambda: trainer_steps(_config(asked, folder, "pad"), asked),
    }
    rows = [_row(name, way, asked) for name, way in ways.items()]
    for row in rows:
        row["ours, packed is"] = f"{rows[0]['label tokens/s'] / row['label tokens/s']:.2f}×"
    facts = {
        "tower": asked.model,
        "language model": asked.language,
        "stage": asked.stage,
        "device": asked.device if asked.device == "cpu" else torch.cuda.get_device_name(),
        "precision": str(dtype).removeprefix("torch."),
        "gradient checkpointing": asked.checkpointing,
        "examples in a padded batch": asked.rows,
        "rows × length of a packed batch": f"{asked.packed} × {asked.length}",
        "steps counted": asked.steps,
        "threads": asked.threads,
    }
    plainly = (asked.model, asked.language, asked.stage, asked.device) == ("tiny", "tiny", "align", "cpu")
    name = f"train-{asked.model}-{asked.language}-{asked.stage}-{asked.device}"
    report("train" if plainly else name, rows, facts)


def _row(name: str, way: Callable[[], list[dict[str, Any]]], asked: Any) -> dict[str, Any]:
    """Sums over the counted steps."""
    import torch

    from pipelines.train.loop.flops import peak_of

    device = torch.device(asked.device)
    if asked.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    steps = way()[_WARM:]
    seconds = sum(step["seconds"] for step in steps)
    tokens, padding = (sum(step[key] for step in steps) for key in ("tokens", "padding"))
    peak = peak_of(device, None)
    return {
        "how": name,
        "label tokens/s": round(sum(step["label_tokens"] for step in steps) / seconds, 1),
        "tokens/s": round(tokens / seconds, 1),
        "examples/s": round(sum(step["examples"] for step in steps) / seconds, 2),
        "padding %": round(100 * padding / (tokens + padding), 1),
        "data wait %": round(100 * sum(step["waited"] for step in steps) / seconds, 2),
        "MFU %": None if peak is None else round(100 * sum(step["flops"] for step in steps) / seconds / peak, 1),
        "memory": round(torch.cuda.max_memory_allocated() / 2**30, 1) if asked.device == "cuda" else None,
    }


def _ours(asked: Any, folder: Path, arrange: str) -> list[dict[str, Any]]:
    from pipelines.train.loop.trainer import train

    out = folder / f"run-{arrange}"
    train(_config(asked, folder, arrange), out)
    logged, recorded = (
        [json.loads(line) for line in (out / name).read_text().splitlines()]
        for name in ("logs/steps.jsonl", "record.jsonl")
    )
    shutil.rmtree(out)
    return [
        {
            "seconds": log["seconds"],
            "waited": log["seconds"] * log["data_wait_share"],
            "flops": log["flops"],
            "examples": len(record["samples"]),
            **{key: record[key] for key in ("tokens", "padding", "label_tokens")},
        }
        for log, record in zip(logged, recorded, strict=True)
    ]


def _config(asked: Any, folder: Path, arrange: str) -> Any:
    """A TrainConfig."""
    from pipelines.train.loop.config_file import checked

    shape: dict[str, Any] = {"arrange": "pad", "rows": asked.rows}
    if arrange == "pack":
        shape = {"arrange": "pack", "rows": asked.packed, "row_length": asked.length}
    stage = {
        "name": "stage",
        "data": {"sources": [{"path": str(folder / "data"), "repeats": None}], "window": 2},
        "batches": {"template": "vicuna", "max_length": asked.length, "window": 128, **shape},
        "freeze": {"train": "projector" if asked.stage == "align" else "lora"},
        "steps": asked.steps + _WARM,
    }
    model = {
        "tower": {"model": str(folder / "tower")},
        "language": {"model": str(folder / "language")},
        "precision": "bf16" if asked.device == "cuda" else "fp32",
    }
    more = {"gradient_checkpointing": asked.checkpointing, "checkpoints": {"every": 1_000_000}}
    plain = {"model": model, "stages": [stage], "device": asked.device, "threads": asked.threads}
    return checked(plain | more, "bench")


def _arguments(args: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench train", description=__doc__)
    parser.add_argument("--model", "--tower", choices=TOWERS, default="tiny")
    parser.add_argument("--language", choices=LANGUAGES, default="tiny")
    parser.add_argument("--stage", choices=("align", "lora"), default="align")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", type=int, default=8, help="examples in a padded batch")
    parser.add_argument("--packed", type=int, default=2, help="rows of a packed batch")
    parser.add_argument("--length", type=int, default=2048, help="of a packed row, and of an example at most")
    parser.add_argument("--steps", type=int, default=8, help="counted; three more come before")
    parser.add_argument("--workers", type=int, default=2, help="of the Trainer's data loader")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing, in all ways")
    parser.add_argument("--folder", help="where weights and data lie while it runs; default: /tmp")
    return parser.parse_args(args)
