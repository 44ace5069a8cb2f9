"""Answers of `pairmill sql` in every format; what a query may not do is tested with the views."""

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.sql import Format, run_sql
from schemas.errors import WrongRequest
from stages.store import Store
from tests.builders import sample, sid
from tests.finished import finished

HOSTILE = 'a\x1b[31m"red",\nline\u202e'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    box = [{"label": "cat", "x": 0.1, "y": 0.0, "w": 1.0, "h": 1.0}]
    samples = [sample(i, clip_score=0.1 * i, caption=HOSTILE if i == 1 else "plain") for i in range(4)]
    samples[2] |= {"boxes": box, "mean_luma": float("nan")}
    return finished(tmp_path_factory.mktemp("sql"), samples)


def _answer(store: Store, sql: str, fmt: Format) -> str:
    out = io.StringIO()
    run_sql(store, sql, fmt, out)
    return out.getvalue()


def test_json_is_a_list_of_rows(store: Store) -> None:
    sql = "SELECT sample_id, clip_score, caption, boxes, pdq, mean_luma FROM samples ORDER BY sample_id"
    rows = json.loads(_answer(store, sql, "json"))
    assert [row["sample_id"] for row in rows] == [sid(i) for i in range(4)]
    assert [row["clip_score"] for row in rows] == [0.0, 0.1, 0.2, 0.3]  # float32, in digits that name it
    assert rows[1]["caption"] == HOSTILE
    assert rows[2]["boxes"][0]["label"] == "cat"
    assert len(bytes.fromhex(rows[0]["pdq"])) == 32
    assert rows[2]["mean_luma"] is None


def test_json_of_nothing_is_an_empty_list(store: Store) -> None:
    assert json.loads(_answer(store, "SELECT 1 AS x FROM pool WHERE false", "json")) == []


def test_csv_reads_back(store: Store) -> None:
    text = _answer(store, "SELECT row, caption, boxes FROM samples ORDER BY row", "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["row", "caption", "boxes"]
    assert rows[2] == ["1", HOSTILE, ""]
    assert json.loads(rows[3][2])[0]["label"] == "cat"


def test_table_shows_control_characters_instead_of_obeying_them(store: Store) -> None:
    text = _answer(store, "SELECT caption, NULL AS nothing FROM samples WHERE row = 1", "table")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert '\\x1b[31m"red",\\nline\\u202e' in text
    assert "–" in text


def test_table_of_many_rows_says_how_many_more(store: Store) -> None:
    text = _answer(store, "SELECT * FROM range(1234)", "table")
    assert len(text.splitlines()) == 102
    assert "1,134 rows more" in text


def test_error_of_the_query_is_one_line_of_a_wrong_request(store: Store) -> None:
    with pytest.raises(WrongRequest, match="clip_scor") as error:
        _answer(store, "SELECT clip_scor FROM samples", "table")
    assert "\n" not in str(error.value)


def test_no_build_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="holds no build"):
        _answer(Store(str(tmp_path)), "SELECT 1", "json")


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, pipelines.sql, pipelines.stats, pipelines.explain, pipelines.verify\n"
        "print([m for m in ('torch', 'ray', 'webdataset', 'datasets', 'cv2', 'faiss', 'pandas') if m in sys.modules])"
    )
    began = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    assert time.monotonic() - began < 20
