"""A trained model by the name that a person gives it: a run's folder, or the folder of a saved model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.train.load import load_model
from pipelines.train.loop.card import CONFIG
from pipelines.train.loop.result import done_stage, result
from pipelines.train.models import Built
from schemas.errors import WrongRequest
from schemas.evaluate import GenerateConfig
from schemas.train_batch import BatchConfig
from schemas.train_loop import TrainStage

DEVICES = ("auto", "cpu", "cuda")
_STAGES = "stages"


@dataclass(frozen=True)
class Trained:
    """A model, and how its batches were made."""

    built: Built
    run: Path | None
    """None: a saved model that is not in a run's folder."""
    stage: TrainStage | None

    @property
    def batches(self) -> BatchConfig:
        """As it was trained with; the defaults where that is not known."""
        return BatchConfig() if self.stage is None else self.stage.batches

    def asking(self, **settings: Any) -> GenerateConfig:
        """Prompts as it was trained with. `settings`: of GenerateConfig; null: as trained, or the default."""
        own = self.batches
        known = {"template": own.template, "template_variables": own.template_variables, "system": own.system}
        return GenerateConfig(**known | {name: value for name, value in settings.items() if value is not None})


def trained(name: str, stage: str | None = None, device: str = "auto") -> Trained:
    """`device`: auto, cpu or cuda. Raises WrongRequest for what is neither a run nor a saved model, and a stage that is
    not done; WrongData for a model that is not as it was saved."""
    if device not in DEVICES:
        raise WrongRequest(f"there is no device {device!r}", f"take one of {', '.join(DEVICES)}")
    folder = Path(name)
    if not (folder / CONFIG).is_file() and stage is None and _of_run(folder):
        folder, stage = folder.resolve().parents[2], folder.resolve().parent.name
    if (folder / CONFIG).is_file():
        _, done = done_stage(folder, stage)
        return Trained(_placed(result(folder, done.name), device), folder, done)
    if not (folder / "config.json").is_file():
        raise WrongRequest(
            f"{name} is neither a training run nor a saved model",
            "give the folder of `pairmill train --out`, or of a model that it or transformers saved",
        )
    if stage is not None:
        raise WrongRequest(f"{name} is a saved model and has no stages", "leave --stage out")
    return Trained(_placed(load_model(folder), device), None, None)


def _of_run(folder: Path) -> bool:
    """`RUN/stages/NAME/model`: the run knows with which template it was trained."""
    whole = folder.resolve()
    return len(whole.parents) > 2 and whole.parents[1].name == _STAGES and (whole.parents[2] / CONFIG).is_file()


def _placed(built: Built, device: str) -> Built:
    import torch

    cuda = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise WrongRequest("--device cuda: torch finds none", "take --device cpu, or look at nvidia-smi")
    if cuda:
        built.model.to("cuda")
    return built
