"""The survival table, of builds finished and under way."""

from pathlib import Path

import pytest
from rich.console import Console

from pipelines.stats import StageLine, as_json, bar_of, render, stats
from schemas.errors import WrongRequest
from stages.store import Store
from tests.builders import build
from tests.finished import finished, mixed, selected

LINES = [
    ("pool", 20, 18, {"repeated_row": 2}),
    ("download", 18, 14, {"http_status": 2, "timeout": 2}),
    ("measure/image", 14, 12, {"undecodable": 2}),
    ("measure/caption", 12, 12, {}),
    ("measure/pdq", 12, 12, {}),
    ("measure/clip", 12, 12, {}),
    ("select", 12, 8, {"duplicate": 2, "dull": 2}),
]


def _plain(lines: list[StageLine]) -> list[tuple[str, int, int, dict[str, int]]]:
    return [(x.stage, x.rows_in, x.kept, x.rejected) for x in lines]


def test_finished_build(tmp_path: Path) -> None:
    store = finished(tmp_path, *mixed(20))
    assert _plain(stats(store)) == LINES


def test_counting_a_build_under_way_says_the_same_as_its_ledger(tmp_path: Path) -> None:
    samples, deselected = mixed(20)
    assert _plain(stats(selected(tmp_path, samples, deselected))) == LINES


def test_a_stage_that_has_done_some_parts_tells_of_those(tmp_path: Path) -> None:
    store = build(tmp_path, mixed(20)[0], families=["pool", "parts", "measures/image"])
    for name in ("parts/00004.parquet", "measures/image/00003.parquet", "measures/image/00004.parquet"):
        store.remove(name)
    assert _plain(stats(store)) == [
        ("pool", 20, 18, {"repeated_row": 2}),
        ("download", 14, 10, {"http_status": 2, "timeout": 2}),
        ("measure/image", 7, 6, {"undecodable": 1}),
    ]


def test_json_is_as_promised(tmp_path: Path) -> None:
    said = as_json(stats(finished(tmp_path, *mixed(10))))
    assert said["stages"][0] == {"stage": "pool", "in": 10, "kept": 9, "rejected": {"repeated_row": 1}}
    assert list(said) == ["stages"]


def test_table_fits_80_columns_and_shows_every_number() -> None:
    lines = [
        StageLine("pool", 1_000_000_000, 999_000_000, {"repeated_row": 1_000_000}),
        StageLine("download", 999_000_000, 600_000_000, {"too_many_redirects": 399_000_000}),
    ]
    console = Console(width=80, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(render(lines))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for shown in ("1,000,000,000", "399,000,000", "too_many_redirects", "60.00%", "39.94% of in"):
        assert shown in text
    console.file.close()


def test_bar_is_in_proportion() -> None:
    assert [bar_of(x).rstrip() for x in (0.0, 0.5, 1.0, 7.0)] == ["", "█" * 10, "█" * 20, "█" * 20]
    assert bar_of(1 / 160).rstrip() == "▏"


def test_no_build_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="holds no build"):
        stats(Store(str(tmp_path)))
