"""What a run has learnt so far, as a model."""

from pathlib import Path

from pipelines.train.loop.card import CONFIG
from pipelines.train.loop.config_file import load_config
from pipelines.train.loop.ready import loaded, outputs
from pipelines.train.models import Built
from schemas.errors import WrongRequest
from schemas.train_loop import TrainConfig, TrainStage


def result(run: str | Path, stage: str | None = None) -> Built:
    """The model after a stage, by default the last one that is done; nothing frozen, in eval mode. Raises WrongRequest
    where no stage, or not that one, is done."""
    config, done = done_stage(run, stage)
    return loaded(config, Path(run), config.stages.index(done) + 1)


def done_stage(run: str | Path, stage: str | None = None) -> tuple[TrainConfig, TrainStage]:
    """The run's configuration, and that stage of it, or the last one that is done. Raises WrongRequest as `result`."""
    folder = Path(run)
    config = load_config(str(folder / CONFIG))
    done = [one for one in config.stages if outputs(folder, one).is_dir()]
    found = [one for one in done if stage in (None, one.name)]
    if not found:
        told = f"stage {stage}" if stage is not None else "a first stage"
        names = ", ".join(one.name for one in done) or "none"
        raise WrongRequest(f"{folder} has not done {told}", f"done: {names}; go on with `pairmill train`")
    return config, found[-1]
