"""The plan: a recipe checked against its inputs, with what is stale and why. Nothing is written here.

Refuses before any work: stages that do not fit together, rules that do not bind, models that do not exist.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.late import KeptRows, families_before, late_inputs, replies_folder
from pipelines.late_stages import make_late_stages
from pipelines.lineage import Origin, SealBook, why_stale
from pipelines.recipe_file import Loaded, resolved_paths
from pipelines.steps import (
    DUPLICATES,
    STEP_CONFIG,
    STEP_FILES,
    STEP_VERSIONS,
    inputs_of,
    made_from,
    step_inputs,
    steps_of,
)
from schemas.errors import WrongData, WrongRequest
from schemas.recipe import Recipe
from schemas.row import Row
from schemas.sample import Candidate
from stages.base import Stage
from stages.families import (
    AFTER_SELECT,
    families_of,
    family_of,
    late_families_of,
    sample_schema,
    stage_of,
)
from stages.late import LateStage
from stages.masks.stage import FindMasks
from stages.measure.clip import ClipMeasure
from stages.pool.reader import Pool, open_pool
from stages.pool.scan import PoolScan, scan
from stages.store import Store
from stages.synthesize.stage import Synthesize

UNTIL = ("pool", "download", "measure", "dedup", "select", "masks", "synthesize", "shards")
"""Stages a build can be told to stop after, in order."""


_IF_CHANGED = "if its input changes"


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
    late: list[LateStage]
    """Stages after select, in order."""
    seals: SealBook
    kept_rows: KeptRows
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
        identity = {"stage": "pool", "version": 2, "repeats": repeats}
        return Origin(identity, {"pool rows": found.content})

    def origin(self, stage: Stage, part: int) -> Origin | None:
        """What the stage's file of a part is to be made of; None while an input is not there."""
        inputs = self.seals.inputs(part, inputs_of(stage))
        if isinstance(stage, LateStage):
            more = late_inputs(self, family_of(stage.name), part)
            inputs = None if inputs is None or more is None else inputs | more
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
        if family in AFTER_SELECT and (self.step("select") or (family == "conversations" and self.step("labels"))):
            upstream_stale = set(range(self.parts))
        for part in range(self.parts):
            origin = self.pool_origin(part) if stage is None else self.origin(stage, part)
            why = "its input comes first" if origin is None else why_stale(seals.get(part), origin)
            if why is None and part in upstream_stale:
                why = _IF_CHANGED
            if why is not None:
                plan.stale.append(StaleFile(part, why))
        return plan

    def _upstream(self, family: str) -> list[str]:
        before = families_before(self.recipe, family) if family in AFTER_SELECT else []
        return {"pool": [], "parts": ["pool"]}.get(family, ["parts", *before])

    def stage_of(self, family: str) -> Stage | None:
        """The stage that writes a family; None for the pool."""
        if family == "parts":
            return self.download
        return next((s for s in (*self.measures, *self.late) if s.name == stage_of(family)), None)

    @property
    def synthesize(self) -> Synthesize:
        """The stage of a recipe that has one."""
        return next(stage for stage in self.late if isinstance(stage, Synthesize))

    def families(self) -> list[str]:
        return families_of(self.recipe)

    def global_origin(self, step: str) -> Origin | None:
        """What a step over all parts (STEP_FILES) is to be made of. None while an input is not there."""
        wanted = step_inputs(self.recipe, step)
        config = STEP_CONFIG[step](self.recipe)
        inputs = self.seals.overall(self.parts, wanted)
        if inputs is None:
            return None
        for name in made_from(self.recipe, step):
            seal = self.seals.one(name)
            if seal is None and not (name == DUPLICATES and self.recipe.dedup is None):
                return None
            inputs[name] = seal.content if seal else "none"
        return Origin({"stage": step, "version": STEP_VERSIONS[step], "config": config}, inputs)

    def step(self, step: str) -> str | None:
        """Why a step over all parts must run again; None when its file is done."""
        if step not in steps_of(self.recipe):
            return None
        families = ["pool"] if step == "labels" else self.families()
        families += late_families_of(self.recipe) if step in ("final", "shards") else []
        if any(self.family(f).stale for f in families):
            return "its input comes first"
        origin = self.global_origin(step)
        if origin is None:
            return "its input comes first"
        why = why_stale(self.seals.one(STEP_FILES[step]), origin)
        before = {"select": "dedup", "final": "select", "shards": "final"}.get(step)
        before = "select" if before and before not in (*steps_of(self.recipe), "dedup") else before
        return why or (_IF_CHANGED if before and self.step(before) else None)


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
    for stage in (*measures, *make_late_stages(loaded, measures)):
        if isinstance(stage, (ClipMeasure, FindMasks)):
            stage.fetch_weights()


def check(loaded: Loaded) -> tuple[Stage, list[Stage]]:
    """Everything about a recipe that can be found wrong without reading data. Raises WrongRequest."""
    from stages.dedup.check import check as check_dedup
    from stages.select.check import check as check_select

    download, measures = make_stages(loaded)
    late = make_late_stages(loaded, measures)
    check_fit([download, *measures, *late])
    for stage in (*measures, *late):
        stage.identity()  # an unknown model or a missing checkpoint is found here
    check_dedup(loaded.recipe)
    schema = sample_schema(families_of(loaded.recipe))
    check_select(loaded.recipe.select, {f.name: f.type for f in schema})
    return download, measures


def make_plan(loaded: Loaded, store: Store) -> Plan:
    """Check the recipe, read the pool once, look at what the build folder holds."""
    download, measures = check(loaded)
    replies_folder(loaded.recipe, store)
    pool = open_pool(loaded.recipe.pool, loaded.base)
    found = scan(pool)
    if not found.rows:
        raise WrongData(f"the pool has no rows: {', '.join(loaded.recipe.pool.paths)}", "name files with rows")
    late = make_late_stages(loaded, measures)
    return Plan(loaded, store, pool, found, download, measures, late, SealBook(store), KeptRows(store))
