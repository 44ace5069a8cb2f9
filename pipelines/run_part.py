"""The work of one worker on one part: what both engines call.

A `WorkOrder` travels to the worker, a `Receipt` travels back; the pixels stay where they are. A runner is picklable;
its models are loaded by `open`, once per worker.
"""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lineage import Origin
from schemas.errors import PairmillError, StageBug, WrongData
from schemas.row import cast, nullable
from schemas.sample import Stored
from stages.base import Outcome, Payload, Stage
from stages.families import EVIDENCE, part_file, stage_of
from stages.measure.pixel_pass import PixelPass
from stages.payload import PayloadTar, read_range
from stages.store import Store, sealed

_PIXEL_BATCH = 128
_PLACE: list[tuple[str, Any]] = [("member", pa.string()), ("offset", pa.int64()), ("size", pa.int64())]


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """One part, and for each family to be written what it is to be made of."""

    part: int
    origins: dict[str, Origin]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a work order."""

    part: int
    rows: int = 0
    """Rows that were alive when the stage began."""
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An order that stops the build."""

    error: PairmillError


class Runner(Protocol):
    """What an engine runs. Picklable before `open`."""

    cpus: float
    gpus: float
    light: bool
    """Needs no model: a few orders are not worth the start of a cluster."""

    def open(self) -> None: ...
    def run(self, order: Any) -> Any: ...
    def close(self) -> None: ...


class CallRunner:
    """A plain function as a runner: what writes a shard."""

    cpus, gpus, light = 1.0, 0.0, True

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def run(self, order: Any) -> Any:
        return self._function(order)

    def open(self) -> None: ...
    def close(self) -> None: ...


def attempt(runner: Runner, order: Any, retries: int) -> Any:
    """Run an order; a stage's bug is tried again, then comes back as the failure that stops the build."""
    for left in range(retries, -1, -1):
        try:
            return runner.run(order)
        except PairmillError as error:
            if left == 0 or not isinstance(error, StageBug):
                return Failure(error)
    raise AssertionError("unreachable: the last try returns")


S = TypeVar("S", bound=Stage)


class StageRunner(Generic[S]):
    """What the runners of a single stage share."""

    light = False

    def __init__(self, store: Store, stage: S) -> None:
        self.cpus, self.gpus = stage.resources.cpus, stage.resources.gpus
        self._store, self._stage = store, stage

    def open(self) -> None:
        self._stage.open()

    def close(self) -> None:
        self._stage.close()


class DownloadRunner(StageRunner[Stage]):
    """Fetches a part: `parts/NNNNN.tar`, then its index, then the log."""

    def run(self, order: WorkOrder) -> Receipt:
        pool = self._store.read_table(part_file("pool", order.part))
        alive = _alive(pool)
        batch = pool.filter(alive).select(self._stage.accepts.columns())
        outcome = self._process(order.part, batch)
        index, log = part_file("parts", order.part), getattr(self._stage, "log", None)
        self._store.remove(index)  # the index is the mark of the pair: it may never outlive its tar
        stored, tar = self._write_tar(order.part, outcome, _positions(alive))
        table = scatter(with_evidence(stored, Stored.arrow_schema(), outcome, self._stage.name), pool, alive)
        self._store.write_table(index, table, order.origins["parts"].seal(table, **tar))
        if log is not None:
            self._store.write_table(part_file("logs/download", order.part), log, sealed(log, "", self._stage.name))
        return _receipt(order.part, outcome)

    def _process(self, part: int, batch: pa.Table) -> Outcome:
        try:
            return self._stage.process(batch)
        except Exception as error:
            raise blame(self._stage.name, part, batch, error, self._stage.process) from error

    def _write_tar(self, part: int, outcome: Outcome, positions: list[int]) -> tuple[pa.Table, dict[str, Any]]:
        """The part's tar in row order; `outcome.table` with member, offset, size; the tar's hash and size."""
        with self._store.committing(f"parts/{part:05d}.tar") as path:
            tar = PayloadTar(path)
            try:
                found = [_add(tar, outcome.payload, i, positions[i]) for i in range(outcome.table.num_rows)]
                sha256 = tar.finish()
            finally:
                tar.abandon()
                if outcome.payload is not None:
                    outcome.payload.close()
        table = outcome.table
        for k, (name, kind) in enumerate(_PLACE):
            table = table.append_column(name, pa.array([f[k] if f else None for f in found], kind))
        return table, {"tar_sha256": sha256, "tar_bytes": tar.bytes}


def _add(tar: PayloadTar, payload: Payload | None, row: int, position: int) -> tuple[str, int, int] | None:
    ext = payload.ext(row) if payload is not None else None
    if payload is None or ext is None:
        return None
    member = tar.add(f"{position:06d}.{ext}", payload.read(row))
    return member.name, member.offset, member.size


class MeasureRunner:
    """One pass over a part's pixels for every measure that is stale there."""

    light = False

    def __init__(self, store: Store, stages: list[Stage], max_pixels: int) -> None:
        """`max_pixels`: what the download let through."""
        self._max_pixels = max_pixels
        self.cpus = max(s.resources.cpus for s in stages)
        self.gpus = max(s.resources.gpus for s in stages)
        self._store, self._stages = store, {s.name: s for s in stages}

    def open(self) -> None:
        for stage in self._stages.values():
            stage.open()

    def close(self) -> None:
        for stage in self._stages.values():
            stage.close()

    def run(self, order: WorkOrder) -> Receipt:
        pool = self._store.read_table(part_file("pool", order.part))
        index = self._store.read_table(part_file("parts", order.part))
        alive = _alive(pool, index)
        stages = [self._stages[stage_of(family)] for family in order.origins]
        outcomes = self._measure(order.part, stages, joined(pool, index).filter(alive))
        for stage, (family, origin) in zip(stages, order.origins.items(), strict=True):
            outcome = outcomes[stage.name]
            table = with_evidence(outcome.table, stage.emits.arrow_schema(), outcome, stage.name)
            table = scatter(table, pool, alive)
            self._store.write_table(part_file(family, order.part), table, origin.seal(table))
        return _receipt(order.part, outcomes[stages[0].name])

    def _measure(self, part: int, stages: list[Stage], rows: pa.Table) -> dict[str, Outcome]:
        def over(some: pa.Table) -> dict[str, Outcome]:
            passing = PixelPass(stages, max_pixels=self._max_pixels)
            passing.open()
            return passing.run(self._batches(part, some))

        try:
            return over(rows)
        except PairmillError:
            raise
        except Exception as error:
            raise blame("measure", part, rows, error, over) from error

    def _batches(self, part: int, rows: pa.Table) -> Iterator[pa.Table]:
        """The rows with their image bytes, a few at a time."""
        with self._store.open(f"parts/{part:05d}.tar") as tar:
            for start in range(0, max(rows.num_rows, 1), _PIXEL_BATCH):
                batch = rows.slice(start, _PIXEL_BATCH)
                images = [read_range(tar, r["offset"], r["size"]) for r in batch.select(["offset", "size"]).to_pylist()]
                yield batch.append_column("image", pa.array(images, pa.large_binary()))


def joined(pool: pa.Table, index: pa.Table) -> pa.Table:
    """Candidate columns and stored columns side by side: families of a part are row-aligned."""
    if pool["sample_id"] != index["sample_id"]:
        raise WrongData("pool and parts do not hold the same rows", "run `pairmill verify` on the build")
    table = pool.drop_columns(EVIDENCE.names)
    for name in index.column_names:
        if name not in table.column_names and name not in EVIDENCE.names:
            table = table.append_column(name, index[name])
    return table


def with_evidence(table: pa.Table, schema: pa.Schema, outcome: Outcome, where: str) -> pa.Table:
    """The emitted columns, checked against the contract, with reason, value, threshold and detail.

    Kept rows must fit the contract as declared; rejected rows may have nulls.
    """
    rows = table.num_rows
    kept = table.filter(pc.is_null(outcome.reason))
    cast(kept, schema, where)
    out = cast(table, nullable(schema), where)
    for field in EVIDENCE:
        column = getattr(outcome, field.name)
        out = out.append_column(field, pa.nulls(rows, field.type) if column is None else column.cast(field.type))
    return out


def scatter(table: pa.Table, pool: pa.Table, alive: pa.BooleanArray) -> pa.Table:
    """Rows of `table` put back to the places where `alive` is true; null elsewhere; every sample_id present."""
    ordinal = pc.subtract(pc.cumulative_sum(alive.cast(pa.int64())), 1)
    take = pc.if_else(alive, ordinal, pa.scalar(None, pa.int64()))
    wide = table.take(take) if table.num_rows else _all_null(table.schema, pool.num_rows)
    at = wide.column_names.index("sample_id")
    field = pa.field("sample_id", pa.string(), nullable=False)
    return wide.set_column(at, field, pool["sample_id"]).cast(table.schema)


def _all_null(schema: pa.Schema, rows: int) -> pa.Table:
    return pa.table({f.name: pa.nulls(rows, f.type) for f in schema})


def _alive(*families: pa.Table) -> pa.BooleanArray:
    """True where no family has a reason."""
    flags: Any = True
    for family in families:
        flags = pc.and_(pc.is_null(family["reason"]), flags)
    return flags.combine_chunks()


def _positions(alive: pa.BooleanArray) -> list[int]:
    return [i for i, a in enumerate(alive.to_pylist()) if a]


def _receipt(part: int, outcome: Outcome) -> Receipt:
    rejected = len(outcome.reason) - outcome.reason.null_count
    return Receipt(part, rows=len(outcome.reason), kept=len(outcome.reason) - rejected)


def blame(stage: str, part: int, batch: pa.Table, error: Exception, again: Callable[[pa.Table], object]) -> StageBug:
    """The error that stops the build, naming the one sample that the stage cannot take.

    Found by halving: a half that raises alone is looked into, one that passes is not.
    """
    rows = batch
    while rows.num_rows > 1:
        middle = rows.num_rows // 2
        failing = next((h for h in (rows.slice(0, middle), rows.slice(middle)) if _raises(again, h)), None)
        if failing is None:
            return StageBug(stage, part, None, _named(error))
        rows = failing
    sample = rows["sample_id"][0].as_py() if rows.num_rows else None
    return StageBug(stage, part, sample, _named(error))


def _raises(again: Callable[[pa.Table], object], rows: pa.Table) -> bool:
    try:
        again(rows)
    except Exception:  # noqa: BLE001  whatever it is, it is what we are looking for
        return True
    return False


def _named(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)
    last = f" ({where[-1].filename.rsplit('/', 1)[-1]}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{last}"
