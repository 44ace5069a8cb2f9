"""The stages after select, made from the recipe in the order in which they run."""

from pathlib import Path

from pipelines.recipe_file import Loaded
from schemas.errors import WrongRequest
from schemas.masks_config import MasksConfig
from stages.base import Stage
from stages.families import families_of, late_families_of
from stages.late import LateStage
from stages.masks.rules import JudgeMasks
from stages.masks.stage import FindMasks, Surroundings
from stages.measure.clip import ClipMeasure
from stages.synthesize.stage import Known, Synthesize


def make_late_stages(loaded: Loaded, measures: list[Stage]) -> list[LateStage]:
    """The stages after select, as far as a plan must know them. Raises WrongRequest where one lacks what it needs."""
    recipe = loaded.recipe
    clip = next((stage for stage in measures if isinstance(stage, ClipMeasure)), None)
    made: dict[str, LateStage] = {}
    if recipe.masks is not None:
        if recipe.masks.boxes_from == "conversations" and recipe.synthesize is None:
            raise WrongRequest("masks.boxes_from: conversations needs synthesize", "add it, or write boxes_from: pool")
        around = Surroundings(recipe.download.resize, recipe.download.max_pixels, clip)
        made["masks"] = FindMasks(_resolved(recipe.masks, loaded.base), around)
        made["masked"] = JudgeMasks(recipe.masks.keep, families_of(recipe))
    if recipe.synthesize is not None:
        if recipe.synthesize.boxes == "masks" and (recipe.masks is None or recipe.masks.boxes_from != "pool"):
            raise WrongRequest("synthesize.boxes: masks needs masks that run before it", "add masks, from the pool")
        made["conversations"] = Synthesize(recipe.synthesize, Known(resize=recipe.download.resize), clip)
    return [made[family] for family in late_families_of(recipe)]


def _resolved(config: MasksConfig, base: str) -> MasksConfig:
    """With paths made absolute: the model's folder, where the recipe names one that is there, and the embeddings'."""
    if config.sam is None:
        return config
    more: dict[str, str] = {}
    if (folder := Path(base) / config.sam.model).is_dir():
        more["model"] = str(folder.resolve())
    if config.sam.embeddings is not None:
        more["embeddings"] = str((Path(base) / config.sam.embeddings).resolve())
    return config.model_copy(update={"sam": config.sam.model_copy(update=more)})
