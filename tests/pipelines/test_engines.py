"""Local and Ray give the same bytes, with any number of workers; a bug names its sample; order does not matter."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.engine.local import LocalEngine
from pipelines.engine.ray import RayEngine
from pipelines.lineage import Origin
from pipelines.run_part import DownloadRunner, Failure, Receipt, WorkOrder, attempt, blame
from schemas.errors import StageBug, WrongData
from schemas.recipe import DownloadConfig
from stages.download.stage import Download
from stages.store import Store
from tests.conftest import RECIPE, Cli, Web, sets
from tests.pipelines.test_kill import result


@pytest.fixture(scope="module")
def local(web: Web, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The whole demo recipe, CLIP included."""
    out = tmp_path_factory.mktemp("local") / "build"
    cli("build", str(RECIPE), "--out", str(out), "--engine", "local", *sets(web.settings))
    return result(out)


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
)
def test_ray_gives_the_bytes_of_local(web: Web, cli: Cli, local: dict[str, str], tmp_path: Path, workers: int) -> None:
    out = tmp_path / "build"
    args = ["--engine", "ray", "--workers", str(workers), *sets(web.settings)]
    cli("build", str(RECIPE), "--out", str(out), *args)
    assert result(out) == local


class Echo:
    """A runner that fails on one part."""

    cpus, gpus, light = 1.0, 0.0, True

    def __init__(self, failing: int | None = None) -> None:
        self.failing = failing
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def close(self) -> None:
        self.closed += 1

    def run(self, order: WorkOrder) -> Receipt:
        if order.part == self.failing:
            raise StageBug("echo", order.part, "abc", "ValueError: no")
        return Receipt(order.part, 3, 2)


ORDERS: list[Any] = [WorkOrder(part, {}) for part in range(5)]


# Few light orders: Ray runs them here and starts no cluster.
ENGINES: list[LocalEngine | RayEngine] = [LocalEngine(), RayEngine()]


@pytest.mark.parametrize("engine", ENGINES, ids=["local", "ray, light"])
def test_every_order_is_settled_once(engine: LocalEngine | RayEngine) -> None:
    runner, parts = Echo(), []
    engine.run(runner, ORDERS, lambda receipt: parts.append(receipt.part))
    engine.close()
    assert sorted(parts) == [0, 1, 2, 3, 4] and (runner.opened, runner.closed) == (1, 1)


def test_a_failure_stops_the_engine_and_closes_the_worker() -> None:
    runner, parts = Echo(failing=2), []
    with pytest.raises(StageBug, match="sample abc of part 00002"):
        LocalEngine(retries=0).run(runner, ORDERS, lambda receipt: parts.append(receipt.part))
    assert parts == [0, 1] and runner.closed == 1


def test_a_bug_is_tried_again_and_wrong_data_is_not() -> None:
    class Flaky(Echo):
        def run(self, order: WorkOrder) -> Receipt:
            self.opened += 1
            raise (StageBug("echo", 0, None, "x") if order.part else WrongData("gone"))

    bug, data = Flaky(), Flaky()
    assert isinstance(attempt(bug, WorkOrder(1, {}), 2), Failure) and bug.opened == 3
    assert isinstance(attempt(data, WorkOrder(0, {}), 2), Failure) and data.opened == 1


def test_blame_finds_the_one_sample() -> None:
    batch = pa.table({"sample_id": [f"s{i}" for i in range(37)]})

    def stage(rows: pa.Table) -> None:
        if "s23" in rows["sample_id"].to_pylist():
            raise ZeroDivisionError("by nothing")

    bug = blame("measure/x", 4, batch, ZeroDivisionError("by nothing"), stage)
    assert (bug.stage, bug.part, bug.sample_id) == ("measure/x", 4, "s23")
    assert "ZeroDivisionError: by nothing" in str(bug)


def test_blame_says_when_no_row_alone_fails() -> None:
    batch = pa.table({"sample_id": ["a", "b"]})

    def stage(rows: pa.Table) -> None:
        if rows.num_rows > 1:
            raise ValueError("together")

    assert blame("m", 0, batch, ValueError("together"), stage).sample_id is None


def test_errors_and_runners_travel() -> None:
    bug = pickle.loads(pickle.dumps(Failure(StageBug("s", 1, "abc", "why")))).error
    assert bug.sample_id == "abc" and bug.exit_code == 1 and "sample abc" in str(bug)
    wrong = pickle.loads(pickle.dumps(WrongData("what", "remedy")))
    assert str(wrong) == "what; remedy"
    pickle.dumps(DownloadRunner(Store("memory://x"), Download(DownloadConfig())))
    pickle.dumps(WorkOrder(3, {"parts": Origin({"stage": "download"}, {"pool.url": "00"})}))
