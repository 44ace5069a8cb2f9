"""The plan: a recipe checked against its inputs, with what is stale and why. Nothing is written here.

Refuses before any work: stages that do not fit together, rules that do not bind, models that do not exist.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.lineage import Origin, SealBook, why_stale
from pipelines.recipe_file import Loaded, resolved_paths
from schemas.errors import WrongData, WrongRequest
from schemas.recipe import Recipe
from schemas.row import Row
from schemas.sample import Candidate, Stored
from stages.base import Stage
from stages.families import families_of, family_schema, sample_schema, stage_of
from stages.measure.clip import ClipMeasure
from stages.pool.reader import Pool, open_pool
from stages.pool.scan import PoolScan, scan
from stages.store import Store

UNTIL = ("pool", "download", "measure", "dedup", "select", "shards")
"""Stages a build can be told to stop after, in order."""


DUPLICATES, SELECTION, INDEX = "groups/duplicates.parquet", "selection.parquet", "shards/index.parquet"
STEP_FILES = {"dedup": DUPLICATES, "select": SELECTION, "shards": INDEX}
"""The file that says, in its seal, that a step over all parts is done."""
STEP_VERSIONS = {"dedup": 1, "select": 1, "shards": 1}
"""Raise one when the same config over the same input gives other bytes."""
_MADE_FROM = {"dedup": [], "select": [DUPLICATES], "shards": [SELECTION]}
_STEP_BEFORE = {"select": "dedup", "shards": "select"}
_IF_CHANGED = "if its input changes"
_EMBEDDINGS = {"clip_image", "clip_text"}


@dataclass(frozen=True, slots=True)
class StaleFile:
    """A file of a family that must be written."""

    part: int
    why: str


@dataclass
class FamilyPlan:
    """What of one family is done and what is not."""

    family: str
    parts: int
    stale: list[StaleFile] = field(default_factory=list)

    def reasons(self) -> Counter[str]:
        return Counter(s.why for s in self.stale)


@dataclass
class Plan:
    """A checked recipe over a scanned pool."""

    loaded: Loaded
    store: Store
    pool: Pool
    scan: PoolScan
    download: Stage
    measures: list[Stage]
    seals: SealBook
    _identities: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe

    @property
    def parts(self) -> int:
        return len(self.scan.parts)

    def pool_origin(self, part: int) -> Origin:
        """The pool family depends on the rows as read and on which of them repeat earlier ones."""
        found = self.scan.parts[part]
        repeats = {str(row): ordinal for row, ordinal in sorted(found.repeats.items())}
        identity = {"stage": "pool", "version": 1, "repeats": repeats}
        return Origin(identity, {"pool rows": found.content})

    def origin(self, stage: Stage, part: int) -> Origin | None:
        """What the stage's file of a part is to be made of; None while an input is not there."""
        inputs = self.seals.inputs(part, inputs_of(stage))
        return None if inputs is None else Origin(self._identity(stage), inputs)

    def _identity(self, stage: Stage) -> dict[str, Any]:
        """A stage's identity, asked for once: it may hash its weights."""
        if stage.name not in self._identities:
            self._identities[stage.name] = stage.identity()
        return self._identities[stage.name]

    def family(self, family: str) -> FamilyPlan:
        """Stale files of one family."""
        plan = FamilyPlan(family, self.parts)
        seals = self.seals.of(family)
        stage = self.stage_of(family)
        upstream_stale = {s.part for f in self._upstream(family) for s in self.family(f).stale}
        for part in range(self.parts):
            origin = self.pool_origin(part) if stage is None else self.origin(stage, part)
            why = "its input comes first" if origin is None else why_stale(seals.get(part), origin)
            if why is None and part in upstream_stale:
                why = _IF_CHANGED
            if why is not None:
                plan.stale.append(StaleFile(part, why))
        return plan

    def _upstream(self, family: str) -> list[str]:
        return {"pool": [], "parts": ["pool"]}.get(family, ["parts"])

    def stage_of(self, family: str) -> Stage | None:
        """The stage that writes a family; None for the pool."""
        if family == "parts":
            return self.download
        return next((s for s in self.measures if s.name == stage_of(family)), None)

    def families(self) -> list[str]:
        return families_of(self.recipe)

    def global_origin(self, step: str) -> Origin | None:
        """What a step over all parts is to be made of: dedup, select or shards. None while an input is not there."""
        families = self.families()
        if step == "dedup":
            wanted = dedup_inputs(self.recipe)
            config = self.recipe.dedup.decisive() if self.recipe.dedup else None
        else:
            wanted = {f: [c for c in columns_of(f) if c not in _EMBEDDINGS] for f in families}
            config = self.recipe.select.decisive() if step == "select" else self.recipe.shards.decisive()
        inputs = self.seals.overall(self.parts, wanted)
        before = _MADE_FROM[step]
        if inputs is None:
            return None
        for name in before:
            seal = self.store.seal(name)
            if seal is None and not (name == DUPLICATES and self.recipe.dedup is None):
                return None
            inputs[name] = seal.content if seal else "none"
        return Origin({"stage": step, "version": STEP_VERSIONS[step], "config": config}, inputs)

    def step(self, step: str) -> str | None:
        """Why a step over all parts must run again; None when its file is done."""
        if step == "dedup" and self.recipe.dedup is None:
            return None
        if any(self.family(f).stale for f in self.families()):
            return "its input comes first"
        origin = self.global_origin(step)
        if origin is None:
            return "its input comes first"
        why = why_stale(self.store.seal(STEP_FILES[step]), origin)
        before = _STEP_BEFORE.get(step)
        return why or (_IF_CHANGED if before and self.step(before) else None)


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
    return wanted


def columns_of(family: str) -> list[str]:
    """Every column of a family's files."""
    return [*family_schema(family).names]


def dedup_inputs(recipe: Recipe) -> dict[str, list[str]]:
    """Family → columns that decide the duplicate groups."""
    wanted = {"parts": ["sample_id", "sha256", "stored_sha256", "reason"]}
    if recipe.dedup and recipe.dedup.near:
        wanted["measures/pdq"] = ["pdq", "pdq_quality", "reason"]
    if recipe.dedup and recipe.dedup.semantic:
        wanted["measures/clip"] = ["clip_image", "reason"]
    return wanted


def check_fit(stages: Iterable[Stage], have: type[Row] = Candidate) -> None:
    """Each stage's columns are there, with its types, before it runs. Raises WrongRequest naming stage and column."""
    known: dict[str, pa.DataType] = {f.name: f.type for f in have.arrow_schema()}
    for stage in stages:
        for wanted in stage.accepts.arrow_schema():
            if wanted.name not in known:
                raise WrongRequest(
                    f"stage {stage.name!r} needs column {wanted.name!r}, which nothing before it gives",
                    f"there are: {', '.join(sorted(known))}",
                )
            comes = known[wanted.name]
            if comes != wanted.type:
                raise WrongRequest(
                    f"stage {stage.name!r} needs column {wanted.name!r} as {wanted.type}, it comes as {comes}",
                    "change the stage or the one that emits it",
                )
        known |= {f.name: f.type for f in stage.emits.arrow_schema()}
        if stage.name == "download":
            known["image"] = pa.large_binary()


def make_stages(loaded: Loaded) -> tuple[Stage, list[Stage]]:
    """The recipe's per-part stages, with model paths resolved."""
    from stages.download.stage import Download
    from stages.measure.registry import make

    measures: list[Stage] = []
    for name in type(loaded.recipe.measure).model_fields:
        config = getattr(loaded.recipe.measure, name)
        if config is None:
            continue
        if name == "clip":
            config = config.model_copy(update=resolved_paths(config, loaded.base))
        measures.append(make(name, config))
    return Download(loaded.recipe.download), measures


def fetch_weights(loaded: Loaded) -> None:
    """Bring model weights named by tag or hub into the local cache, so that fingerprints can hash them."""
    _, measures = make_stages(loaded)
    for stage in measures:
        if isinstance(stage, ClipMeasure):
            stage.fetch_weights()


def check(loaded: Loaded) -> tuple[Stage, list[Stage]]:
    """Everything about a recipe that can be found wrong without reading data. Raises WrongRequest."""
    from stages.dedup.check import check as check_dedup
    from stages.select.check import check as check_select

    download, measures = make_stages(loaded)
    check_fit([download, *measures])
    for stage in measures:
        stage.identity()  # an unknown model or a missing checkpoint is found here
    check_dedup(loaded.recipe)
    schema = sample_schema(families_of(loaded.recipe))
    check_select(loaded.recipe.select, {f.name: f.type for f in schema})
    return download, measures


def make_plan(loaded: Loaded, store: Store) -> Plan:
    """Check the recipe, read the pool once, look at what the build folder holds."""
    download, measures = check(loaded)
    pool = open_pool(loaded.recipe.pool, loaded.base)
    found = scan(pool)
    if not found.rows:
        raise WrongData(f"the pool has no rows: {', '.join(loaded.recipe.pool.paths)}", "name files with rows")
    return Plan(loaded, store, pool, found, download, measures, SealBook(store))
