"""The laws that every registered stage keeps, whatever its rows hold.

Rows in = kept + rejected; the output fits `emits`; same input, same output; picklable before `open` and after `close`;
an empty batch is a batch; one bad row never touches its neighbours. Where a model computes over a batch (CLIP), a row
alone and the same row in a batch agree within the case's tolerance, and the verdict on it agrees exactly.
"""

import importlib
import json
import math
import pickle
import pkgutil
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stages
from schemas.row import Row, cast, nullable
from stages.base import Outcome, Stage
from stages.registry import STAGES
from tests.stages.cases import Case, Cells, batch_of, cases

pytestmark = [  # Pillow's remarks on broken metadata and on large promises
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]
laws = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def all_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    with cases(tmp_path_factory.mktemp("laws")) as found:
        yield found


@pytest.fixture(scope="module", params=list(STAGES))
def case(request: pytest.FixtureRequest, all_cases: dict[str, Case]) -> Case:
    return all_cases[request.param]


@pytest.fixture(scope="module")
def stage(case: Case) -> Iterator[Stage]:
    made = case.make()
    made.open()
    yield made
    made.close()


def result(stage: Stage, batch: pa.Table) -> list[dict[str, Any]]:
    """One dict per row: emitted columns, evidence, and the hash-worthy bytes of a payload."""
    outcome = stage.process(batch)
    rows = outcome.table.select(stage.emits.columns()).to_pylist()
    for name in ("reason", "value", "threshold", "detail"):
        column = getattr(outcome, name)
        values = [None] * len(rows) if column is None else column.to_pylist()
        for row, value in zip(rows, values, strict=True):
            row[f"_{name}"] = value
    if outcome.payload is not None:
        for i, row in enumerate(rows):
            ext = outcome.payload.ext(i)
            row["_payload"] = (ext, outcome.payload.read(i)) if ext is not None else None
        outcome.payload.close()
    return rows


def agree(a: Any, b: Any, tolerance: float) -> bool:
    """Equal; floats within the tolerance."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=0, abs_tol=tolerance)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(agree(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(agree(a[k], b[k], tolerance) for k in a)
    return a == b


def drawn(stage: Stage, case: Case, data: st.DataObject, most: int = 7) -> pa.Table:
    rows: list[Cells] = data.draw(st.lists(case.any_row, max_size=most))
    return batch_of(stage.accepts, rows)


# ---------------------------------------------------------------- the laws


@laws
@given(data=st.data())
def test_rows_in_are_rows_kept_and_rows_rejected(stage: Stage, case: Case, data: st.DataObject) -> None:
    batch = drawn(stage, case, data)
    outcome = stage.process(batch)
    assert outcome.table["sample_id"].to_pylist() == batch["sample_id"].to_pylist()
    assert outcome.kept.num_rows + outcome.rejected.num_rows == batch.num_rows == len(outcome.reason)
    assert set(outcome.reason.to_pylist()) - {None} <= {str(r) for r in stage.reasons}
    _close(outcome)


@laws
@given(data=st.data())
def test_what_it_emits_fits_its_contract(stage: Stage, case: Case, data: st.DataObject) -> None:
    outcome = stage.process(drawn(stage, case, data))
    schema = stage.emits.arrow_schema()
    cast(outcome.kept, schema, stage.name)
    cast(outcome.table, nullable(schema), stage.name)
    for evidence in (outcome.value, outcome.threshold):
        assert evidence is None or evidence.cast(pa.float64()) is not None
    _close(outcome)


@laws
@given(data=st.data())
def test_same_input_same_output(stage: Stage, case: Case, data: st.DataObject) -> None:
    batch = drawn(stage, case, data)
    assert result(stage, batch) == result(stage, batch)


@laws
@given(data=st.data())
def test_a_row_comes_out_alone_as_it_does_among_others(stage: Stage, case: Case, data: st.DataObject) -> None:
    batch = drawn(stage, case, data, most=5)
    together = result(stage, batch)
    alone = [result(stage, batch.slice(i, 1))[0] for i in range(batch.num_rows)]
    assert [row["_reason"] for row in alone] == [row["_reason"] for row in together]
    for one, among in zip(alone, together, strict=True):
        assert agree(one, among, case.tolerance), (one, among)


@pytest.mark.parametrize("bad_at", [0, 2, 4])
def test_one_bad_row_never_touches_its_neighbours(stage: Stage, case: Case, bad_at: int) -> None:
    rows = [case.good(i) for i in range(5)]
    clean = result(stage, batch_of(stage.accepts, rows))
    spoilt = result(stage, batch_of(stage.accepts, [*rows[:bad_at], case.bad, *rows[bad_at + 1 :]]))
    assert [row["_reason"] for row in clean] == [None] * 5
    assert spoilt[bad_at]["_reason"] is not None
    for i in set(range(5)) - {bad_at}:
        assert agree(clean[i], spoilt[i], case.tolerance)


def test_an_empty_batch_is_a_batch(stage: Stage) -> None:
    outcome = stage.process(batch_of(stage.accepts, []))
    assert outcome.table.num_rows == 0 == len(outcome.reason)
    cast(outcome.table, stage.emits.arrow_schema(), stage.name)
    _close(outcome)


def test_other_columns_change_nothing(stage: Stage, case: Case) -> None:
    batch = batch_of(stage.accepts, [case.good(0), case.bad, case.good(1)])
    wider = batch.append_column("something_else", pa.array(["x", None, "y"])).append_column("n", pa.array([1, 2, 3]))
    assert result(stage, wider) == result(stage, batch)


def test_it_is_picklable_before_open_and_after_close(case: Case) -> None:
    batch = None
    results = []
    made = case.make()
    for _ in range(2):  # before it was ever opened, then after it was closed
        made = pickle.loads(pickle.dumps(made))
        batch = batch_of(made.accepts, [case.good(0), case.bad, case.good(1)])
        made.open()
        made.open()  # idempotent
        results.append(result(made, batch))
        made.close()
        made.close()
    assert results[0] == results[1]


def test_its_identity_is_plain_and_the_same_in_another_process(case: Case) -> None:
    made = case.make()
    identity = made.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert (identity["stage"], identity["version"]) == (made.name, made.version)
    assert pickle.loads(pickle.dumps(made)).identity() == identity
    assert case.make().identity() == identity


def test_it_declares_itself(stage: Stage) -> None:
    for row in (stage.accepts, stage.emits):
        assert issubclass(row, Row)
        assert row.columns()[0] == "sample_id"
    assert issubclass(stage.reasons, StrEnum)
    assert stage.resources.cpus > 0


# ---------------------------------------------------------------- nobody is forgotten


def test_every_registered_stage_has_a_case(all_cases: dict[str, Case]) -> None:
    assert set(all_cases) == set(STAGES)
    assert all(type(case.make()) is STAGES[name] for name, case in all_cases.items())


def test_every_stage_in_the_package_is_registered() -> None:
    for module in pkgutil.walk_packages(stages.__path__, "stages."):
        importlib.import_module(module.name)
    named = {c for c in _subclasses(Stage) if "name" in vars(c) and c.__module__.startswith("stages.")}
    assert named == set(STAGES.values())


def _subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _close(outcome: Outcome) -> None:
    if outcome.payload is not None:
        outcome.payload.close()
