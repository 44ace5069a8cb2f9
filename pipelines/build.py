"""The build: runs a plan, stage by stage, writing only what is stale.

Everything it knows is in the build folder: killed at any instant and run again, it ends with the same bytes. The
manifest is removed before the first file is changed and written after the last: its presence means that the build is
done.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pipelines.build_late import masks, synthesize
from pipelines.engine.base import Engine
from pipelines.engine.local import LocalEngine
from pipelines.ledger import write_ledger
from pipelines.lineage import Origin, why_stale
from pipelines.manifest import MANIFEST, write_manifest
from pipelines.plan import UNTIL, Plan, StaleFile, fetch_weights, make_plan
from pipelines.progress import Silent, Watcher
from pipelines.recipe_file import Loaded, keep_copies, parse
from pipelines.run_part import CallRunner, DownloadRunner, MeasureRunner, Receipt, Runner, WorkOrder
from pipelines.steps import DUPLICATES, STEP_FILES
from schemas.errors import WrongData, WrongRequest
from schemas.recipe import EngineConfig
from stages.base import Stage
from stages.dedup.resolve import resolve
from stages.families import all_families_of, part_file, part_files
from stages.select.decide import decide
from stages.shard.assign import ShardOrder
from stages.shard.run import is_done, make_shards
from stages.shard.write import ShardReceipt
from stages.store import Store, content_hash


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How far to go and who watches."""

    until: str = "shards"
    watcher: Watcher = field(default_factory=Silent)


def make_engine(config: EngineConfig) -> Engine:
    """The engine that a recipe asks for."""
    if config.kind == "local":
        return LocalEngine(config.retries)
    from pipelines.engine.ray import RayEngine

    return RayEngine(config.workers, config.retries, config.address)


def build(loaded: Loaded, store: Store, options: BuildOptions | None = None) -> Plan:
    """Build a recipe into a folder; returns the plan it ran.

    Raises WrongRequest and WrongData; StageBug when a stage fails on a sample.
    """
    options = options or BuildOptions()
    if options.until not in UNTIL:
        raise WrongRequest(f"--until {options.until!r} is not a stage", f"stages are {', '.join(UNTIL)}")
    claim(store, loaded.recipe.name)
    store.require_writable()
    with _locked(store):
        fetch_weights(loaded)
        plan = make_plan(loaded, store)
        store.sweep()
        run = Run(plan, options.watcher)
        keep_copies(store, loaded, plan.pool.source_names)
        engine = make_engine(loaded.recipe.engine)
        try:
            for stage in UNTIL[: UNTIL.index(options.until) + 1]:
                run.steps[stage](engine)
        finally:
            engine.close()
    return plan


def claim(store: Store, name: str) -> None:
    """Raises WrongRequest when the folder is another build's, or not a build's at all."""
    if store.exists("recipe.yaml"):
        other = parse(store.read_bytes("recipe.yaml").decode(), f"{store.url}/recipe.yaml").get("name")
        if other != name:
            raise WrongRequest(f"{store.url} holds the build of recipe {other!r}, not {name!r}", "choose another --out")
    elif [f for f in store.listing("") if not f.startswith(("/logs", "logs"))]:
        raise WrongRequest(f"{store.url} is not empty and not a build folder", "choose another --out")


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """One build at a time in a local folder. An object store has no such lock: two builds there waste work, no more."""
    if not store.local:
        yield
        return
    path = Path(store.path("logs/lock"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WrongRequest(
                f"another build is running in {store.url}", "wait for it, or choose another --out"
            ) from error
        yield


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan, watcher: Watcher) -> None:
        self.plan, self.store, self.watcher = plan, plan.store, watcher
        self._dirty = False
        self.steps: dict[str, Callable[[Engine], None]] = {
            "pool": self.pool,
            "download": self.download,
            "measure": self.measure,
            "dedup": self.dedup,
            "select": self.select,
            "masks": lambda engine: masks(self, engine),
            "synthesize": lambda engine: synthesize(self, engine),
            "shards": self.shards,
        }

    def dirty(self) -> None:
        """Something is about to change: the build is no longer done."""
        if not self._dirty:
            self.store.remove(MANIFEST)
            self._dirty = True

    def pool(self, engine: Engine) -> None:
        """Write the stale parts of the pool, in one more pass over it; remove what a longer pool left."""
        todo = {s.part for s in self.plan.family("pool").stale}
        self.watcher.start("pool", len(todo), self.plan.parts - len(todo))
        self._drop_leftovers()
        if todo:
            self.dirty()
            for part, table in enumerate(self.plan.pool.parts([p.repeats for p in self.plan.scan.parts])):
                if part in todo:
                    self._unchanged(part, table)
                    origin = self.plan.pool_origin(part)
                    self.store.write_table(part_file("pool", part), table, origin.seal(table))
                    self.watcher.advance("pool", table.num_rows, table["reason"].null_count)
        self.plan.seals.forget("pool")
        self.watcher.finish("pool")

    def _unchanged(self, part: int, table: pa.Table) -> None:
        """Raises WrongData when the pool is not what the plan read."""
        found = self.plan.scan.parts[part]
        if not found.repeats and content_hash(table) != found.content:
            raise WrongData(f"the pool changed while it was read (part {part:05d})", "run the same command again")

    def _drop_leftovers(self) -> None:
        for family in all_families_of(self.plan.recipe):
            for part, name in part_files(self.store, family).items():
                if part >= self.plan.parts:
                    self.dirty()
                    self.store.remove(name)
                    self.store.remove(name.replace(".parquet", ".tar"))

    def download(self, engine: Engine) -> None:
        stale = self.plan.family("parts").stale
        orders = [self.order(s, ["parts"]) for s in stale]
        self.parts("download", engine, DownloadRunner(self.store, self.plan.download), orders)
        self.plan.seals.forget("parts")

    def measure(self, engine: Engine) -> None:
        wanted: dict[int, list[str]] = {}
        families = [f for f in self.plan.families() if f.startswith("measures/")]
        for family in families:
            for stale in self.plan.family(family).stale:
                wanted.setdefault(stale.part, []).append(family)
        orders = [self.order(StaleFile(part, ""), names) for part, names in sorted(wanted.items())]
        needed = {f for names in wanted.values() for f in names}
        stages = [s for f in families if f in needed and (s := self.plan.stage_of(f)) is not None]
        self.parts("measure", engine, self._measurer(stages) if stages else None, orders)
        for family in families:
            self.plan.seals.forget(family)

    def _measurer(self, stages: list[Stage]) -> MeasureRunner:
        return MeasureRunner(self.store, stages, self.plan.recipe.download.max_pixels)

    def order(self, stale: StaleFile, families: list[str]) -> WorkOrder:
        origins: dict[str, Origin] = {}
        for family in families:
            stage = self.plan.stage_of(family)
            origin = self.plan.origin(stage, stale.part) if stage else None
            if origin is None:
                raise AssertionError(f"{family} of part {stale.part} is ordered before its inputs")
            origins[family] = origin
        return WorkOrder(stale.part, origins)

    def parts(self, stage: str, engine: Engine, runner: Runner | None, orders: list[WorkOrder]) -> None:
        self.watcher.start(stage, len(orders), self.plan.parts - len(orders))
        if runner is not None and orders:
            self.dirty()

            def done(receipt: Receipt) -> None:
                self.watcher.advance(stage, receipt.rows, receipt.kept)

            engine.run(runner, list(orders), done)
        self.watcher.finish(stage)

    def dedup(self, engine: Engine) -> None:
        """Resolve duplicate groups over all parts."""
        if self.plan.recipe.dedup is None:
            if self.store.exists(DUPLICATES):
                self.dirty()
                self.store.remove(DUPLICATES)
                self.plan.seals.forget(DUPLICATES)
            return
        config = self.plan.recipe.dedup

        def work(origin: Origin) -> str:
            table = resolve(self.store, config, self.plan.parts)
            self.store.write_table(DUPLICATES, table, origin.seal(table))
            return f"{len(set(table['group'].to_pylist())):,} groups of {table.num_rows:,} samples"

        self.step("dedup", work)

    def select(self, engine: Engine) -> None:
        """Decide on every row."""

        def work(origin: Origin) -> str:
            kept = decide(self.store, self.plan.recipe, self.plan.parts, origin)
            return f"{kept:,} of {self.plan.scan.rows:,} rows kept"

        self.step("select", work)

    def shards(self, engine: Engine) -> None:
        """Write the stale shards, then the ledger, then the manifest."""
        origin = self.plan.global_origin("shards")
        if origin is None:
            raise AssertionError("shards run before the selection is there")
        if is_done(self.store, origin.fingerprint) and self.store.exists(MANIFEST):
            self.watcher.start("shards", 0)
            self.watcher.finish("shards")
            return
        self.dirty()

        def spread(write: Callable[[ShardOrder], ShardReceipt], orders: list[ShardOrder]) -> list[ShardReceipt]:
            receipts: list[ShardReceipt] = []

            def done(receipt: ShardReceipt) -> None:
                receipts.append(receipt)
                self.watcher.advance("shards", receipt.samples, receipt.samples)

            todo = [order for order in orders if not order.done]
            self.watcher.start("shards", len(todo), len(orders) - len(todo))
            engine.run(CallRunner(write), todo, done)
            return receipts

        about = {"identity": origin.identity, "inputs": origin.inputs}
        make_shards(self.store, self.plan.recipe, self.plan.parts, (origin.fingerprint, about), spread)
        self.plan.seals.forget(STEP_FILES["shards"])
        write_ledger(self.store, self.plan.recipe)
        manifest = write_manifest(self.store, self.plan.recipe)
        tars = sum(1 for entry in manifest.shards if entry.path.endswith(".tar"))
        self.watcher.finish("shards", f"{manifest.kept:,} samples in {tars:,} shards")

    def step(self, step: str, work: Callable[[Origin], str]) -> None:
        """A step over all parts, when its file is not what it should be."""
        origin = self.plan.global_origin(step)
        if origin is None:
            raise AssertionError(f"{step} runs before its inputs are there")
        stale = why_stale(self.store.seal(STEP_FILES[step]), origin) is not None
        self.watcher.start(step, int(stale), int(not stale))
        note = ""
        if stale:
            self.dirty()
            note = work(origin)
            self.plan.seals.forget(STEP_FILES[step])
        self.watcher.finish(step, note)
