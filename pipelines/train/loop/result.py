"""What a run has learnt so far, as a model."""

from pathlib import Path

from pipelines.train.loop.card import CONFIG
from pipelines.train.loop.config_file import load_config
from pipelines.train.loop.ready import loaded, outputs
from pipelines.train.models import Built
from schemas.errors import WrongRequest


def result(run: str | Path, stage: str | None = None) -> Built:
    """The model after a stage, by default the last one that is done; nothing frozen, in eval mode. Raises WrongRequest
    where no stage, or not that one, is done."""
    folder = Path(run)
    config = load_config(str(folder / CONFIG))
    names = [one.name for one in config.stages]
    done = [one.name for one in config.stages if outputs(folder, one).is_dir()]
    if not done or (stage is not None and stage not in done):
        told = f"stage {stage}" if stage is not None else "a first stage"
        raise WrongRequest(
            f"{folder} has not done {told}", f"done: {', '.join(done) or 'none'}; go on with `pairmill train`"
        )
    return loaded(config, folder, names.index(stage or done[-1]) + 1)
