"""The ledger and the survival table."""

from pathlib import Path

import pytest

from pipelines.ledger import write_ledger
from schemas.errors import WrongData
from schemas.recipe import SelectConfig
from schemas.rules import Rule
from stages.store import Store
from tests.builders import Rejected, sample, sid, write_selection
from tests.finished import mixed, recipe, selected


def _ledger(store: Store, number: int = 0) -> list[dict[str, object]]:
    return store.read_table(f"ledger/{number:05d}.parquet").to_pylist()


def test_every_rejection_is_in_the_ledger_with_its_evidence_and_no_kept_row_is(tmp_path: Path) -> None:
    samples = [sample(0), sample(1, rejected=Rejected("download", "too_large", 9.0, 5.0, "Content-Length")), sample(2)]
    store = selected(tmp_path, samples, {2: Rejected("select", "dull", 0.1, 0.28)})
    write_ledger(store, recipe())
    evidence = {"stage": "download", "reason": "too_large", "value": 9.0, "threshold": 5.0, "detail": "Content-Length"}
    assert _ledger(store) == [
        {"sample_id": sid(1), "part": 0, "row": 1, **evidence},
        {"sample_id": sid(2), "part": 0, "row": 2, "stage": "select", "reason": "dull"}
        | {"value": 0.1, "threshold": 0.28, "detail": None},
    ]


def test_counts_conserve_rows_from_stage_to_stage(tmp_path: Path) -> None:
    samples, deselected = mixed(20)
    counts = write_ledger(selected(tmp_path, samples, deselected), recipe())
    lines = [c for c in counts if c["reason"] is None]
    assert [(c["stage"], c["rows_in"], c["kept"], c["rejected"]) for c in lines] == [
        ("pool", 20, 18, 2),
        ("download", 18, 14, 4),
        ("measure/image", 14, 12, 2),
        ("measure/caption", 12, 12, 0),
        ("measure/pdq", 12, 12, 0),
        ("measure/clip", 12, 12, 0),
        ("select", 12, 8, 4),
    ]
    reasons = {(c["stage"], c["reason"]): c["rejected"] for c in counts if c["reason"]}
    assert reasons["download", "timeout"] == reasons["select", "dull"] == 2
    assert sum(reasons.values()) == 12


def test_reasons_of_select_stand_as_its_rules_do(tmp_path: Path) -> None:
    rules = SelectConfig(rules=[Rule(reason="zoo", keep="true"), Rule(reason="ant", keep="true")])
    asked = recipe().model_copy(update={"select": rules})
    why = {0: Rejected("select", "ant"), 1: Rejected("select", "duplicate"), 2: Rejected("select", "zoo")}
    counts = write_ledger(selected(tmp_path, [sample(i) for i in range(4)], why), asked)
    assert [c["reason"] for c in counts if c["stage"] == "select"] == [None, "zoo", "ant", "duplicate"]


def test_a_file_holds_a_hundred_parts_and_is_there_even_when_empty(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    why = {"kept": False, "stage": "download", "reason": "timeout"}
    rows = [{"sample_id": sid(i), "part": i, "row": 0, "kept": True} | (why if i < 3 else {}) for i in range(101)]
    write_selection(store, rows)
    write_ledger(store, recipe())
    assert [row["part"] for row in _ledger(store)] == [0, 1, 2]
    assert _ledger(store, 1) == []


def test_ledger_of_a_larger_build_is_removed_and_an_unchanged_one_left_alone(tmp_path: Path) -> None:
    samples, deselected = mixed(10)
    store = selected(tmp_path, samples, deselected)
    store.write_bytes("ledger/00007.parquet", b"old")
    write_ledger(store, recipe())
    assert list(store.listing("ledger")) == ["ledger/00000.parquet", "ledger/counts.parquet"]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "ledger").iterdir()}
    assert write_ledger(store, recipe())[0]["rows_in"] == 10
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "ledger").iterdir()} == before
    (tmp_path / "ledger/00000.parquet").unlink()
    write_ledger(store, recipe())
    assert len(_ledger(store)) == 6


def test_a_rejection_without_a_reason_is_refused(tmp_path: Path) -> None:
    store = selected(tmp_path, [sample(0)], {0: Rejected("select", None)})  # type: ignore[arg-type]
    with pytest.raises(WrongData, match=f"sample {sid(0)} is rejected without"):
        write_ledger(store, recipe())


def test_a_stage_that_the_recipe_does_not_have_is_refused(tmp_path: Path) -> None:
    store = selected(tmp_path, [sample(0)], {0: Rejected("measure/taste", "bitter")})
    with pytest.raises(WrongData, match="'measure/taste'"):
        write_ledger(store, recipe())
