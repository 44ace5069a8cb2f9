"""One step of a run: the exact samples that it learnt from, and where each comes from."""

import json
from pathlib import Path
from typing import Any

from pipelines.train.lineage.origins import KNOWN, Origin, origin_of
from pipelines.train.lineage.samples import Teller, find
from pipelines.train.loop.card import CONFIG, read_facts
from pipelines.train.loop.config_file import load_config
from pipelines.train.loop.record import REJECTIONS, as_json, step_record
from schemas.errors import WrongData
from schemas.stream import SourceConfig
from schemas.train_loop import TrainStage


def explain_step(run: str | Path, step: int, data: list[str] | None = None) -> dict[str, Any]:
    """The record of a step (schemas.train_loop.StepRecord) as plain JSON values, and beside it:

    - `origins`: of each source of the step name, path, state, why, manifest (of the run's card), found
      (today's), rules;
    - `changes`: what --allow-changed allowed on the way;
    - `samples` and `rejections` (TrainRejection) with the lineage of each (`Teller.lineage`), null where its source is
      no build, or not the one that was trained on.

    `data`: [NAME=]BUILD, where a build lies now. Raises WrongRequest for a folder that is no run and a step that it
    does not have.
    """
    folder = Path(run)
    record = step_record(folder, step)
    stage, sources = _stage(folder, record.stage, data)
    facts = read_facts(folder)
    told = as_json(record) | {"rejections": _rejections(folder / REJECTIONS, step)}
    entries = [*told["samples"], *told["rejections"]]
    origins = [
        origin_of(source, _carded(facts, stage.name, source.label))
        for source in sources
        if any(entry["source"] == source.label for entry in entries)
    ]
    told["origins"] = [
        _told(origin, stage, [entry for entry in entries if entry["source"] == origin.config.label])
        for origin in origins
    ]
    return {"run": str(folder), **told, "changes": [] if facts is None else facts["changes"]}


def _stage(run: Path, name: str, data: list[str] | None) -> tuple[TrainStage, list[SourceConfig]]:
    """A run's stage, and its sources where they lie now, under the names that the record has."""
    before, now = load_config(str(run / CONFIG)), load_config(str(run / CONFIG), data)
    for stage, moved in zip(before.stages, now.stages, strict=True):
        if stage.name == name:
            sources = zip(stage.data.sources, moved.data.sources, strict=True)
            return stage, [new.model_copy(update={"name": old.label}) for old, new in sources]
    raise WrongData(f"{run / CONFIG} has no stage {name}", "it is another run's: put the run's own back")


def _told(origin: Origin, stage: TrainStage, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The source, with the rules that all its samples passed; its entries get their lineage."""
    teller = Teller(origin, stage.batches) if origin.state in KNOWN else None
    found = {} if teller is None else find(origin.store, (entry["sample_id"] for entry in entries))
    for entry in entries:
        mine = found.get(entry["sample_id"])
        entry["lineage"] = None if mine is None or teller is None else teller.lineage(mine, entry["number"])
    return {
        "name": origin.config.label,
        "path": origin.config.path,
        "state": origin.state.value,
        "why": origin.why,
        "manifest": origin.manifest,
        "found": origin.found,
        "rules": None if teller is None else teller.rules,
    }


def _carded(facts: dict[str, Any] | None, stage: str, source: str) -> dict[str, Any] | None:
    """What the run's card says of a stage's source."""
    stages = [] if facts is None else facts["stages"]
    data = [one for about in stages if about["name"] == stage for one in about["data"]]
    return next((one for one in data if one["name"] == source), None)


def _rejections(path: Path, step: int) -> list[dict[str, Any]]:
    """Lines of one step, in order."""
    out: list[dict[str, Any]] = []
    begins = f'{{"step": {step}, '.encode()
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(begins):
                told = json.loads(line)
                del told["step"]
                out.append(told)
    return out
