"""The folder of a run that nobody trained: what its stages saved are first values. And its build, with a held-out split
of conversations that templates and a model wrote."""

from pathlib import Path
from typing import Any

from pipelines.train.loop.card import write_config
from pipelines.train.loop.config_file import checked
from pipelines.train.loop.ready import loaded, outputs
from pipelines.train.loop.record import Record
from pipelines.train.save import save_model, save_projector
from schemas.conversation import Conversation
from schemas.train_loop import StepRecord, StepSample
from tests.builders import sid
from tests.pipelines.talking import talk, talking

SAMPLES = 12


def written(i: int) -> list[Conversation]:
    """Of the templates, of a model, and one that is nothing to train on."""
    number = ["two", "three"][i % 2]
    return [
        talk("red ball ?", "yes", "what is left ?", f"{number} red cube", kind="vqa", teacher="template"),
        talk("what is in the picture ?", "a blue ball", kind="detail"),
        talk("left ?", "no", kind="preference", teacher="template", rejected="yes"),
    ]


def build(folder: Path) -> Path:
    """SAMPLES samples, about half of them in split val; one has no conversation."""
    said = [written(i) for i in range(SAMPLES - 1)]
    talking(folder, [*said, []], max_samples=4, val_share=0.5)
    return folder


def run(folder: Path, shelf: Path, data: Path, **batches: Any) -> Path:
    """Stages align (captions, projector) and tune (conversations, whole language model), both done."""
    sources = {"sources": [{"path": str(data), "split": "train", "name": "own"}]}
    align = {"name": "align", "data": sources, "batches": {"text": "caption", "template": "plain"}}
    tune = {"name": "tune", "data": sources, "freeze": {"train": "language"}, "batches": {"max_length": 96, **batches}}
    model = {"tower": {"model": str(shelf / "clip")}, "language": {"model": str(shelf / "llama")}}
    config = checked({"model": model, "stages": [align, tune]}, "a test")
    folder.mkdir()
    write_config(config, folder)
    built = loaded(config, folder, 0)
    save_projector(built, outputs(folder, config.stages[0]))
    save_model(built, outputs(folder, config.stages[1]))
    return folder


def learnt_from(folder: Path, stages: dict[str, list[int]]) -> None:
    """A record in which each stage has a step of these samples."""
    record = Record(folder, {})
    for step, (stage, numbers) in enumerate(stages.items(), start=1):
        one: dict[str, Any] = {"number": 0, "kind": "vqa", "source": "own", "label_tokens": 2, "images": 1, "loss": 1.0}
        names = ("loss", "grad_norm", "lr", "label_tokens", "tokens", "padding", "images", "truncated", "cut_tokens")
        samples = [StepSample(sample_id=sid(n), **one) for n in numbers]
        named = {"step": step, "stage": stage, "stage_step": 1, "samples": samples}
        record.add(StepRecord(**dict.fromkeys(names, 1), rejected={}, kinds={}, sources={}, **named), [])
    record.close()
