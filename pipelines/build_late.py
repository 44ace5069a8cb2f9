"""The build after select: label counts, conversations, and every row's final state."""

from typing import TYPE_CHECKING

from pipelines.engine.base import Engine
from pipelines.engine.local import LocalEngine
from pipelines.late import counts_labels, synthesizer, write_final
from pipelines.lineage import Origin
from pipelines.run_late import SynthesizeRunner
from pipelines.run_part import WorkOrder
from pipelines.steps import steps_of
from schemas.errors import HandedIn
from schemas.synthesize import BatchConfig, SynthesizeConfig
from stages.families import FINAL
from stages.synthesize.labels import LABELS, count_labels

if TYPE_CHECKING:
    from pipelines.build import Run


def synthesize(run: "Run", engine: Engine) -> None:
    """Bring labels, conversations and final.parquet in line with the recipe; remove what it no longer has."""
    recipe, store, parts = run.plan.recipe, run.store, run.plan.parts
    for name, step in ((LABELS, "labels"), (FINAL, "final")):
        if step not in steps_of(recipe) and store.exists(name):
            run.dirty()
            store.remove(name)
    if recipe.synthesize is None:
        return

    def labels(origin: Origin) -> str:
        table = count_labels(store, parts)
        store.write_table(LABELS, table, origin.seal(table))
        return f"{table.num_rows:,} labels and pairs of labels"

    def final(origin: Origin) -> str:
        return f"{write_final(store, recipe, parts, origin):,} samples kept"

    if counts_labels(recipe):
        run.step("labels", labels)
    _conversations(run, engine, recipe.synthesize)
    run.step("final", final)


def _handed_in(run: "Run", config: SynthesizeConfig, batch: BatchConfig, orders: list[WorkOrder]) -> list[WorkOrder]:
    """Every part's requests go to the provider before any is waited for; the parts that are still to be written.

    Raises HandedIn where the recipe says not to wait.
    """
    run.dirty()
    at_once = config.model_copy(update={"batch": batch.model_copy(update={"wait_s": 0.0})})
    runner, left = SynthesizeRunner(run.store, synthesizer(run.plan, at_once)), list[WorkOrder]()
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


def _conversations(run: "Run", engine: Engine, config: SynthesizeConfig) -> None:
    orders = [run.order(stale, ["conversations"]) for stale in run.plan.family("conversations").stale]
    if config.batch is not None and config.teacher == "model":
        orders = _handed_in(run, config, config.batch, orders)
    runner = SynthesizeRunner(run.store, synthesizer(run.plan, config)) if orders else None
    # one process asks an endpoint: it holds hundreds of requests, and one pace is better than several
    engine = LocalEngine(run.plan.recipe.engine.retries) if config.teacher == "model" else engine
    run.parts("synthesize", engine, runner, orders)
    run.plan.seals.forget("conversations")
