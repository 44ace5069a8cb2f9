"""What decides what: the columns that a stage's file is made from, and the steps over all parts."""

from collections.abc import Callable
from typing import Any

from schemas.recipe import Recipe
from schemas.sample import Candidate, Stored
from stages.base import Stage
from stages.families import EVIDENCE, FINAL, SELECTION, families_of, family_schema, final_file, late_families_of
from stages.late import LateStage
from stages.shard.document import sharded_columns
from stages.synthesize.labels import LABELS

DUPLICATES, INDEX = "groups/duplicates.parquet", "shards/index.parquet"
STEP_FILES = {"dedup": DUPLICATES, "select": SELECTION, "labels": LABELS, "final": FINAL, "shards": INDEX}
"""The file that says, in its seal, that a step over all parts is done."""
STEP_VERSIONS = {"dedup": 1, "select": 1, "labels": 1, "final": 1, "shards": 2}
"""Raise one when the same config over the same input gives other bytes."""
_EMBEDDINGS = {"clip_image", "clip_text"}


def inputs_of(stage: Stage) -> dict[str, list[str]]:
    """Family → columns that decide what a stage writes: what it reads, and which rows are alive."""
    of_pool, of_parts = Candidate.columns(), Stored.columns()
    pool, parts = {"sample_id", "reason"}, {"reason"}
    for column in stage.accepts.columns():
        if column == "image":
            parts.add("stored_sha256")
        elif column in of_pool:
            pool.add(column)
        elif column in of_parts:
            parts.add(column)
    wanted = {"pool": sorted(pool)}
    if stage.name != "download":
        wanted["parts"] = sorted(parts)
    if isinstance(stage, LateStage):
        more = stage.reads()
        parts |= {"stored_sha256"} if stage.sees_pictures else set()
        wanted |= more | {"parts": sorted(parts.union(more.get("parts", ())))}
    return wanted


def columns_of(family: str) -> list[str]:
    """Every column of a family's files."""
    return [*family_schema(family).names]


def steps_of(recipe: Recipe) -> list[str]:
    """The steps over all parts that a build of `recipe` has, in order."""
    labels = recipe.synthesize is not None and recipe.synthesize.counts_labels
    has = {"dedup": recipe.dedup is not None, "labels": labels, "final": final_file(recipe) == FINAL}
    return [step for step in STEP_FILES if has.get(step, True)]


STEP_CONFIG: dict[str, Callable[[Recipe], dict[str, Any] | None]] = {
    "dedup": lambda recipe: recipe.dedup.decisive() if recipe.dedup else None,
    "select": lambda recipe: recipe.select.decisive(),
    "labels": lambda recipe: None,
    "final": lambda recipe: None,
    "shards": lambda recipe: recipe.shards.decisive(),
}


def made_from(recipe: Recipe, step: str) -> list[str]:
    """Global files that decide a step."""
    return {"select": [DUPLICATES], "final": [SELECTION], "shards": [final_file(recipe)]}.get(step, [])


def step_inputs(recipe: Recipe, step: str) -> dict[str, list[str]]:
    """Family → columns that decide a step."""
    late = late_families_of(recipe)
    if step == "dedup":
        return dedup_inputs(recipe)
    if step == "labels":
        return {"pool": ["boxes", "reason"]}
    if step == "final":
        return {family: ["sample_id", *EVIDENCE.names] for family in late}
    wanted = {f: [c for c in columns_of(f) if c not in _EMBEDDINGS] for f in families_of(recipe)}
    return wanted | ({family: sharded_columns(family) for family in late} if step == "shards" else {})


def dedup_inputs(recipe: Recipe) -> dict[str, list[str]]:
    """Family → columns that decide the duplicate groups."""
    wanted = {"parts": ["sample_id", "sha256", "stored_sha256", "reason"]}
    if recipe.dedup and recipe.dedup.near:
        wanted["measures/pdq"] = ["pdq", "pdq_quality", "reason"]
    if recipe.dedup and recipe.dedup.semantic:
        wanted["measures/clip"] = ["clip_image", "reason"]
    return wanted
