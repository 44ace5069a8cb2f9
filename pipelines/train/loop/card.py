"""The run's card, for people and for machines: data, model, settings, versions. No clock is in it.

RUN/README.md   as a page
RUN/card.json   {stages: [{name, data: [{name, manifest, samples, streamed}], learning, values, steps}], changes}
"""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from pipelines.train.freeze import trainable
from pipelines.train.loop.record import RECORD, step_record
from pipelines.train.models import Built
from schemas.errors import WrongData
from schemas.train_loop import TrainConfig
from stages.stream.source import BUILD_MANIFEST, FOLDER, Source

CARD, FACTS, CONFIG = "README.md", "card.json", "config.yaml"
PACKAGES = ("transformers", "peft", "safetensors", "tokenizers", "numpy")


def write_config(config: TrainConfig, run: Path) -> None:
    """As resolved, every default spelled out."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (run / CONFIG).write_text(text, encoding="utf-8")


def datasets(sources: list[Source]) -> list[dict[str, Any]]:
    """What a stage reads: name, the manifest's fingerprint, samples, and the fingerprint of those that are streamed."""
    return [
        {
            "name": source.label,
            "manifest": _manifest(source),
            "samples": int(source.counts.sum()),
            "streamed": source.fingerprint,
        }
        for source in sources
    ]


def learning(built: Built) -> dict[str, int]:
    """Values that learn, and all."""
    found = trainable(built.model)
    return {"learning": found.count, "values": found.total}


def write_card(config: TrainConfig, run: Path, told: list[dict[str, Any]], changes: list[str]) -> None:
    """README.md and card.json. `told`: of each stage begun so far, its data and sizes."""
    import torch

    stages = [{"name": stage.name, **about} for stage, about in zip(config.stages, told, strict=False)]
    _put(run / FACTS, json.dumps({"stages": stages, "changes": changes}, indent=1, ensure_ascii=False) + "\n")
    lines = ["# A training run of pairmill", "", f"`{CONFIG}` has all settings.", ""]
    for stage, about in zip(config.stages, told, strict=False):
        lines += [f"## Stage {stage.name}", "", f"Learns: {stage.freeze.train}, {about['learning']:,} of "]
        lines[-1] += f"{about['values']:,} values; {about['steps']:,} steps of {stage.accumulate} batches a process."
        lines += [
            "",
            "| data | manifest's fingerprint | samples | streamed samples' fingerprint |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {d['name']} | {d['manifest']} | {d['samples']:,} | {d['streamed']} |" for d in about["data"]]
        lines += [""]
    lines += ["## Model", "", "```yaml", _model(config), "```", "", "## Versions", ""]
    lines += [f"- Python {platform.python_version()}", f"- torch {torch.__version__}"]
    lines += [*(f"- {name} {_version(name)}" for name in PACKAGES), ""]
    if changes:
        lines += ["## Changed on the way", "", *(f"- {change}" for change in changes), ""]
    if (run / RECORD).exists() and about_last(run):
        lines += ["## Where it stands", "", about_last(run), ""]
    _put(run / CARD, "\n".join(lines))


def read_facts(run: Path) -> dict[str, Any] | None:
    """card.json; None where there is none. Raises WrongData."""
    try:
        found = json.loads((run / FACTS).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise WrongData(
            f"{run / FACTS} is no JSON: {error}", "run the same `pairmill train` again: it writes it anew"
        ) from error
    return found


def about_last(run: Path) -> str:
    """The last step, in a line; empty before the first."""
    steps = (run / "record.index").stat().st_size // 8
    if not steps:
        return ""
    last = step_record(run, steps)
    return f"Step {last.step}, stage {last.stage}: loss {last.loss:.4f} over {last.label_tokens:,} label tokens."


def _put(path: Path, text: str) -> None:
    """Whole at every instant: others read it while a run goes on."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _model(config: TrainConfig) -> str:
    if config.model is None:
        return f"base: {config.base}"
    return yaml.safe_dump(config.model.model_dump(mode="json"), sort_keys=False).rstrip()


def _manifest(source: Source) -> str:
    store = source.indexes
    name = BUILD_MANIFEST if store.exists(BUILD_MANIFEST) else f"{FOLDER}/{BUILD_MANIFEST}"
    return str(json.loads(store.read_bytes(name))["fingerprint"])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
