"""One arm of `bench curation`, in a process of its own: `python -m bench.curation_train JOB.json`.

Trains as `pairmill demo --train` does, in a given number of steps however many rows there are, then asks about pictures
of another web. Killed and started again, it goes on.
"""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.demo_train import ASKING, demo_config
from pipelines.exports.read import samples, shards_of
from pipelines.manifest import read_manifest
from pipelines.train.loop.record import RECORD
from schemas.stream import SourceConfig
from schemas.train_loop import TrainConfig
from stages.store import Store

STAGES = ("align", "instruct")
_SPLIT = "val"


@dataclass(frozen=True, slots=True)
class Job:
    """What an arm's process is told."""

    build: str
    asked: str
    """Build of the pictures that are asked about."""
    run: str
    result: str
    seed: int
    """Of the stream's order, the projector's first values, and dropout."""
    steps: tuple[int, ...]
    """Of each of STAGES."""
    mixed: list[str]
    """sample_ids of the mixed-up rows in the build."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def read(path: Path) -> "Job":
        return Job(**json.loads(path.read_text(encoding="utf-8")))


def config(job: Job) -> TrainConfig:
    """The demo's, with this seed and so many steps of an endless stream."""
    made = demo_config(job.build)
    stages = []
    for stage, steps in zip(made.stages, job.steps, strict=True):
        sources = [source.model_copy(update={"repeats": None}) for source in stage.data.sources]
        data = stage.data.model_copy(update={"sources": sources, "seed": job.seed})
        assert stage.features is not None  # the demo keeps them
        features = stage.features.model_copy(update={"folder": str(Path(job.run) / "features")})
        stages.append(stage.model_copy(update={"data": data, "steps": steps, "features": features}))
    assert tuple(stage.name for stage in stages) == STAGES
    often = made.checkpoints.model_copy(update={"every": 100})
    return made.model_copy(update={"stages": stages, "seed": job.seed, "threads": 1, "checkpoints": often})


def learn(job: Job) -> dict[str, Any]:
    """Train, ask; what came of it, as JSON."""
    import transformers

    from pipelines.train.evaluate.held_out import held_out_rows
    from pipelines.train.evaluate.loss import held_out_loss
    from pipelines.train.evaluate.trained import trained
    from pipelines.train.loop.trainer import train
    from schemas.errors import Stopped

    transformers.utils.logging.disable_progress_bar()
    ended = train(config(job), Path(job.run), say=_say)
    if ended.stopped is not None:
        raise Stopped(f"{job.run} was stopped by {ended.stopped}", "run the same command again")
    _say("asking")
    found = trained(job.run)
    store, asking = Store(job.asked), found.asking(**ASKING)
    rows = held_out_rows(found.built, store, config=asking)
    source = SourceConfig(path=job.asked, split=_SPLIT)
    loss = held_out_loss(found.built, [source], found.batches, asking.batch_size)
    return {
        "answers": [row.model_dump() for row in rows],
        "loss": [row.model_dump() for row in loss.rows],
        "learnt": learnt(job),
    }


def learnt(job: Job) -> dict[str, dict[str, Any]]:
    """Stage → examples learnt from, how often each was on the average, and the share that comes of mixed-up rows."""
    store, mixed = Store(job.build), set(job.mixed)
    there, drawn, wrong = examples(store), Counter[str](), Counter[str]()
    with (Path(job.run) / RECORD).open("rb") as lines:
        for line in lines:
            step = json.loads(line)
            drawn[step["stage"]] += len(step["samples"])
            wrong[step["stage"]] += sum(sample["sample_id"] in mixed for sample in step["samples"])
    return {
        stage: {
            "examples": drawn[stage],
            "epochs": drawn[stage] / there[stage],
            "mixed": wrong[stage] / drawn[stage],
        }
        for stage in STAGES
    }


def examples(store: Store) -> Counter[str]:
    """Stage → examples in the split that is trained on: captions, conversations."""
    found = Counter[str]()
    for tar in shards_of(read_manifest(store)):
        for sample in samples(store, tar):
            if sample.split == "train":
                found["align"] += sample.caption is not None
                found["instruct"] += len(sample.conversations or ())
    return found


def _say(words: str) -> None:
    print(words, flush=True)


def main(path: Path) -> None:
    """Do the job; its result is there whole or not at all."""
    job = Job.read(path)
    result = Path(job.result)
    result.with_suffix(".part").write_text(json.dumps(learn(job), indent=1) + "\n", encoding="utf-8")
    result.with_suffix(".part").replace(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
