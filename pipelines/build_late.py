"""The build after select: masks and their rules, label counts, conversations, and every row's final state."""

from typing import TYPE_CHECKING

from pipelines.engine.base import Engine
from pipelines.engine.local import LocalEngine
from pipelines.late import families_before, synthesizer, write_final
from pipelines.lineage import Origin
from pipelines.run_late import LateRunner
from pipelines.run_part import WorkOrder
from pipelines.steps import steps_of
from schemas.errors import HandedIn
from schemas.recipe import Recipe
from schemas.synthesize import BatchConfig, SynthesizeConfig
from stages.families import FINAL, late_families_of, stage_of
from stages.late import LateStage
from stages.synthesize.labels import LABELS, count_labels

if TYPE_CHECKING:
    from pipelines.build import Run


def masks(run: "Run", engine: Engine) -> None:
    """Bring masks and what their rules say in line with the recipe; before them, what they are made from."""
    _families(run, engine, _until_masks(run.plan.recipe))


def synthesize(run: "Run", engine: Engine) -> None:
    """Bring labels, conversations and final.parquet in line with the recipe; remove what it no longer has."""
    recipe, store, parts = run.plan.recipe, run.store, run.plan.parts
    for name, step in ((LABELS, "labels"), (FINAL, "final")):
        if step not in steps_of(recipe) and store.exists(name):
            run.dirty()
            store.remove(name)
            run.plan.seals.forget(name)
    _families(run, engine, late_families_of(recipe)[len(_until_masks(recipe)) :])

    def final(origin: Origin) -> str:
        return f"{write_final(store, recipe, parts, origin):,} samples kept"

    if "final" in steps_of(recipe):
        run.step("final", final)


def _until_masks(recipe: Recipe) -> list[str]:
    late = late_families_of(recipe)
    return late[: late.index("masked") + 1] if "masked" in late else []


def _families(run: "Run", engine: Engine, families: list[str]) -> None:
    for family in families:
        if family == "conversations":
            _conversations(run, engine)
            continue
        stage = run.plan.stage_of(family)
        assert isinstance(stage, LateStage)
        orders = _orders(run, family)
        run.parts(stage_of(family), engine, _runner(run, family, stage) if orders else None, orders)
        run.plan.seals.forget(family)


def _orders(run: "Run", family: str) -> list[WorkOrder]:
    return [run.order(stale, [family]) for stale in run.plan.family(family).stale]


def _runner(run: "Run", family: str, stage: LateStage) -> LateRunner:
    return LateRunner(run.store, stage, families_before(run.plan.recipe, family))


def _conversations(run: "Run", engine: Engine) -> None:
    recipe, parts = run.plan.recipe, run.plan.parts
    config = recipe.synthesize
    assert config is not None

    def labels(origin: Origin) -> str:
        table = count_labels(run.store, parts)
        run.store.write_table(LABELS, table, origin.seal(table))
        return f"{table.num_rows:,} labels and pairs of labels"

    if "labels" in steps_of(recipe):
        run.step("labels", labels)
    orders = _orders(run, "conversations")
    if config.batch is not None and config.teacher == "model":
        orders = _handed_in(run, config, config.batch, orders)
    runner = _runner(run, "conversations", synthesizer(run.plan, config)) if orders else None
    # one process asks an endpoint: it holds hundreds of requests, and one pace is better than several
    engine = LocalEngine(recipe.engine.retries) if config.teacher == "model" else engine
    run.parts("synthesize", engine, runner, orders)
    run.plan.seals.forget("conversations")


def _handed_in(run: "Run", config: SynthesizeConfig, batch: BatchConfig, orders: list[WorkOrder]) -> list[WorkOrder]:
    """Every part's requests go to the provider before any is waited for; the parts that are still to be written.

    Raises HandedIn where the recipe says not to wait.
    """
    run.dirty()
    at_once = config.model_copy(update={"batch": batch.model_copy(update={"wait_s": 0.0})})
    runner, left = _runner(run, "conversations", synthesizer(run.plan, at_once)), list[WorkOrder]()
    error: HandedIn | None = None
    runner.open()
    try:
        for order in orders:
            try:
                runner.run(order)
            except HandedIn as waiting:
                error = waiting
                left.append(order)
    finally:
        runner.close()
    if error is not None and batch.wait_s == 0:
        raise error
    return left
