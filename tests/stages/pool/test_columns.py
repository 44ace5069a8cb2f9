"""Extra columns, boxes and keys."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stages.pool.pools import encode, only, opened, put, rows_of

BOX = {"label": "cat", "x": 1.5, "y": 2.0, "w": 3.0, "h": 4.0}


def _extra(tmp_path: Path, **columns: pa.Array) -> Any:
    pq.write_table(pa.table({"url": ["u"], "caption": ["c"], **columns}), tmp_path / "a.parquet", store_schema=True)
    (row,) = rows_of(opened(tmp_path, "a.parquet"))
    return json.loads(row["extra"])


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (pa.array([2**63], pa.uint64()), 2**63),
        (pa.array([True]), True),
        (pa.array([0.25]), 0.25),
        (pa.array([np.float16(0.5)], pa.float16()), 0.5),
        (pa.array([float("nan")]), None),
        (pa.array([float("-inf")]), None),
        (pa.array([None], pa.string()), None),
        (pa.array(['a "quoted"\n\x01 ünï']), 'a "quoted"\n\x01 ünï'),
        (pa.array([b"\xff\x00"]), "/wA="),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([dt.date(2026, 1, 2)]), "2026-01-02"),
        (pa.array([5], pa.timestamp("ns")), "1970-01-01 00:00:00.000000005"),
        (pa.array([0], pa.timestamp("ms", "Europe/Berlin")), "1970-01-01 00:00:00.000Z"),
        (pa.array([[5]], pa.list_(pa.timestamp("ns"))), ["1970-01-01 00:00:00.000000005"]),
        (pa.array([7], pa.duration("ms")), 7),
        (pa.array([[("k", 7)]], pa.map_(pa.string(), pa.duration("ms"))), [["k", 7]]),
        (pa.array(["x"], pa.string_view()), "x"),
        (pa.array([b"x"], pa.binary_view()), "eA=="),
        (pa.array([["x"]], pa.list_view(pa.string())), ["x"]),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([{"b": [1, None], "a": float("nan")}]), {"a": None, "b": [1, None]}),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [["k", 1]]),
    ],
    ids=lambda v: str(v.type) if isinstance(v, pa.Array) else "",
)
def test_extra_of_any_type(tmp_path: Path, value: pa.Array, kept: Any) -> None:
    assert _extra(tmp_path, thing=value) == {"thing": kept}


def test_extra_has_sorted_keys_and_no_white_space(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", 'z,url,"we ""quote""",caption\n1,u,2,c\n')
    (row,) = rows_of(opened(tmp_path, "a.csv"))
    assert row["extra"] == '{"we \\"quote\\"":"2","z":"1"}'


def test_extra_left_out_on_request(tmp_path: Path) -> None:
    for kind in ("parquet", "csv", "jsonl"):
        put(tmp_path, f"a.{kind}", encode([{"url": "u", "caption": "c", "n": 1}], kind))
        assert only(rows_of(opened(tmp_path, f"a.{kind}", extra=False)), "extra") == [None]


def test_extra_of_a_json_row_that_lacks_a_column(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", '{"url":"u","caption":"c"}\n{"url":"u","x":1}\n')
    assert only(rows_of(opened(tmp_path, "a.jsonl")), "extra") == [None, '{"x":1}']


def test_mapped_columns_are_no_extra_but_the_key_is(tmp_path: Path) -> None:
    row = {"link": "u", "alt": "c", "id": "k", "lang": "de", "n": 1}
    names = {"url": "link", "caption": "alt", "key": "id", "language": "lang"}
    for kind in ("parquet", "jsonl"):
        put(tmp_path, f"a.{kind}", encode([row], kind))
        (read,) = rows_of(opened(tmp_path, f"a.{kind}", columns=names))
        assert (read["url"], read["caption"], read["language"]) == ("u", "c", "de")
        assert read["extra"] == '{"id":"k","n":1}'


@pytest.mark.parametrize("as_text", [False, True])
def test_boxes_in_both_forms(tmp_path: Path, as_text: bool) -> None:
    boxes = [[BOX, {**BOX, "label": None}], [], None]
    values = [json.dumps(b) if as_text and b is not None else b for b in boxes]
    table = pa.table({"url": ["u0", "u1", "u2"], "caption": ["c"] * 3, "boxes": values})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = rows_of(opened(tmp_path, "a.parquet", columns={"boxes": "boxes"}))
    assert only(rows, "boxes", "reason", "extra") == [(b, None, None) for b in boxes]


@pytest.mark.parametrize(
    ("boxes", "evidence"),
    [
        ("{}", "not a list"),
        ("[", "boxes: "),
        ("[5]", "not an object"),
        ('[{"x": 1, "y": 1, "w": 1}]', "h is not a number"),
        ('[{"x": true, "y": 1, "w": 1, "h": 1}]', "x is not a number"),
        ('[{"x": 1, "y": 1, "w": -1, "h": 1}]', "negative"),
        ('[{"x": 1e39, "y": 1, "w": 1, "h": 1}]', "out of range"),
        ('[{"x": NaN, "y": 1, "w": 1, "h": 1}]', "out of range"),
        ('[{"label": 5, "x": 1, "y": 1, "w": 1, "h": 1}]', "label is not text"),
        ('[{"label": "\\ud800", "x": 1, "y": 1, "w": 1, "h": 1}]', "surrogates"),
        ("[" * 100_000, "boxes: "),
    ],
)
def test_wrong_boxes_are_a_malformed_row(tmp_path: Path, boxes: str, evidence: str) -> None:
    pq.write_table(pa.table({"url": ["u"], "caption": ["c"], "boxes": [boxes]}), tmp_path / "a.parquet")
    (row,) = rows_of(opened(tmp_path, "a.parquet", columns={"boxes": "boxes"}))
    assert (row["reason"], row["boxes"], row["url"]) == ("malformed_row", None, "u")
    assert evidence in row["detail"]


def test_key_names_the_sample(tmp_path: Path) -> None:
    rows = [{"url": "u0", "caption": "c", "id": "k"}, {"url": "u1", "caption": "d", "id": "k"}]
    put(tmp_path, "a.jsonl", encode([rows[0]], "jsonl"))
    put(tmp_path, "b.jsonl", encode([rows[1]], "jsonl"))
    first, second = (rows_of(opened(tmp_path, f, columns={"key": "id"})) for f in ("a.jsonl", "b.jsonl"))
    assert only(first, "sample_id") == only(second, "sample_id")
    assert only(first, "sample_id") != only(rows_of(opened(tmp_path, "a.jsonl")), "sample_id")


def test_missing_key_is_a_malformed_row(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", '{"url":"u","caption":"c","id":"k"}\n{"url":"u","caption":"c","id":" "}\n')
    rows = rows_of(opened(tmp_path, "a.jsonl", columns={"key": "id"}))
    assert only(rows, "reason", "detail") == [(None, None), ("malformed_row", "the key is missing")]
