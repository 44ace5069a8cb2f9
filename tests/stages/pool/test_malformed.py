"""A row that cannot be read stays at its place with a reason, and its neighbours are as they would be without it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.pool import delimited
from stages.pool.lines import MAX_LINE
from tests.stages.pool.pools import only, opened, put, rows_of

BAD_LINES = {
    "csv": {
        "too few fields": (b"alone\n", "1 fields"),
        "too many fields": (b"a,b,c\n", "3 fields"),
        "not UTF-8": (b"a,\xff\xfe\n", "invalid UTF-8"),
        "text behind a closing quote": (b'a,"b" c\n', "expected after"),
        "a quote never closed": (b'a,"b\n', ""),
    },
    "tsv": {
        "too few fields": (b"alone\n", "1 fields"),
        "not UTF-8": (b"a\t\xff\n", "invalid UTF-8"),
    },
    "jsonl": {
        "torn object": (b'{"url": "a", \n', "not JSON"),
        "no object": (b"[1, 2]\n", "not an object"),
        "a string": (b'"a"\n', "not an object"),
        "not UTF-8": (b'{"url": "\xff"}\n', "invalid UTF-8"),
        "half a surrogate pair": (b'{"url": "u", "caption": "\\ud800"}\n', "surrogate"),
        "half a surrogate pair in extra": (b'{"url": "u", "caption": "c", "x": "\\ud800"}\n', "surrogate"),
        "an infinite number": (b'{"url": "u", "caption": "c", "x": 1e999}\n', "JSON"),
        "nested too deep": (b'{"url": "u", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "nested too deep"),
        "nested deep": (b'{"url": "u", "x": ' + b"[" * 90 + b"]" * 90 + b"}\n", "nested too deep"),
        "url is a list": (b'{"url": ["u"], "caption": "c"}\n', "url is a list"),
        "a huge integer": (b'{"url": "u", "caption": "c", "x": ' + b"9" * 5000 + b"}\n", "not JSON"),
    },
}
CASES = [(kind, what) for kind, cases in BAD_LINES.items() for what in cases]


def _line(kind: str, url: str, caption: str) -> bytes:
    if kind == "jsonl":
        return json.dumps({"url": url, "caption": caption}).encode() + b"\n"
    return {"csv": ",", "tsv": "\t"}[kind].join([url, caption]).encode() + b"\n"


@pytest.mark.parametrize(("kind", "what"), CASES, ids=[f"{k}: {w}" for k, w in CASES])
def test_one_bad_line_is_one_malformed_row(tmp_path: Path, kind: str, what: str) -> None:
    bad, evidence = BAD_LINES[kind][what]
    head = b"" if kind == "jsonl" else _line(kind, "url", "caption")
    put(tmp_path, f"a.{kind}", head + _line(kind, "u0", "c0") + bad + _line(kind, "u2", "c2") + _line(kind, "u3", "c3"))
    rows = rows_of(opened(tmp_path, f"a.{kind}"))
    assert only(rows, "source_row") == [0, 1, 2, 3]
    assert only(rows, "reason") == [None, "malformed_row", None, None]
    assert evidence in rows[1]["detail"]
    assert len(rows[1]["detail"]) < 250
    assert [(r["url"], r["caption"]) for r in rows if not r["reason"]] == [("u0", "c0"), ("u2", "c2"), ("u3", "c3")]


def test_many_quotes_never_closed_cost_a_line_each(tmp_path: Path) -> None:
    lines = [b'u%d,"open\n' % i if i % 7 == 3 else b"u%d,c%d\n" % (i, i) for i in range(3000)]
    put(tmp_path, "a.csv", b"url,caption\n" + b"".join(lines))
    rows = rows_of(opened(tmp_path, "a.csv"))
    bad = [i for i in range(3000) if i % 7 == 3]
    assert sum(r["reason"] is None for r in rows) >= 3000 - 2 * len(bad)  # a quote may close the one before
    assert {r["url"] for r in rows if r["reason"] is None} <= {f"u{i}" for i in range(3000)}


def test_a_file_made_to_be_reread_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these lines leaves a quote open whether it begins inside of one or not."""
    put(tmp_path, "a.csv", b"url,caption\n" + b'x","\n' * 200_000)
    monkeypatch.setattr(delimited, "MAX_LINE", 10_000)
    monkeypatch.setattr(delimited, "_REREAD", 100_000)
    (part,) = opened(tmp_path, "a.csv", part_rows=200_000).parts()
    assert part.num_rows == 200_000
    assert part["reason"].unique().to_pylist() == ["malformed_row"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_endless_line_is_one_malformed_row(tmp_path: Path, kind: str) -> None:
    head = b"" if kind == "jsonl" else _line(kind, "url", "caption")
    endless = b"x" * (2 * MAX_LINE + 12345) + b"\n"
    put(tmp_path, f"a.{kind}", head + _line(kind, "u0", "c0") + endless + _line(kind, "u2", "c2"))
    rows = rows_of(opened(tmp_path, f"a.{kind}"))
    assert only(rows, "url", "reason") == [("u0", None), (None, "malformed_row"), ("u2", None)]
    assert "more than" in rows[1]["detail"]


def _invalid(texts: list[bytes]) -> pa.Array:
    """A string array that lies about its encoding, as a hostile Parquet file may."""
    return pa.array(texts, pa.binary()).view(pa.string())


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    columns = {"url": pa.array(["u0", "u1", "u2"]), "caption": _invalid([b"c0", b"\xff", b"c2"])}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = rows_of(opened(tmp_path, "a.parquet"))
    assert only(rows, "url", "reason") == [("u0", None), ("u1", "malformed_row"), ("u2", None)]
    assert "caption is not UTF-8" in rows[1]["detail"]


def test_parquet_text_deep_inside_that_is_not_utf8(tmp_path: Path) -> None:
    tags = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), _invalid([b"x", b"\xff", b"z"]))
    columns = {"url": pa.array(["u0", "u1", "u2"]), "caption": pa.array(["c"] * 3), "tags": tags}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = rows_of(opened(tmp_path, "a.parquet"))
    assert only(rows, "reason") == [None, "malformed_row", None]
    assert rows[2]["extra"] == '{"tags":["z"]}'


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("AB" * 32, "ab" * 32),
        (" " + "ab" * 32, "ab" * 32),
        ("", None),
        (None, None),
        ("ab" * 31, "!"),
        ("xy" * 32, "!"),
    ],
)
def test_promised_sha256(tmp_path: Path, value: str | None, kept: str | None) -> None:
    put(tmp_path, "a.jsonl", json.dumps({"url": "u", "caption": "c", "hash": value}))
    (row,) = rows_of(opened(tmp_path, "a.jsonl", columns={"sha256": "hash"}))
    if kept == "!":
        assert (row["reason"], row["expected_sha256"]) == ("malformed_row", None)
        assert "64 hex digits" in row["detail"]
    else:
        assert (row["reason"], row["expected_sha256"]) == (None, kept)


@pytest.mark.parametrize(
    ("url", "caption", "reason"),
    [
        (None, "c", "missing_url"),
        ("", "c", "missing_url"),
        ("\u00a0\t", "c", "missing_url"),
        ("u", None, "missing_caption"),
        ("u", " \n", "missing_caption"),
        (None, None, "missing_url"),
        ("u", "c", None),
    ],
)
def test_missing(tmp_path: Path, url: Any, caption: Any, reason: str | None) -> None:
    put(tmp_path, "a.jsonl", json.dumps({"url": url, "caption": caption}))
    (row,) = rows_of(opened(tmp_path, "a.jsonl"))
    assert (row["reason"], row["url"], row["caption"]) == (reason, url, caption)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([b'"', b",", b"\n", b"\r", b"\t", b"a", b"\xff", b"{", b"}", b"1", b'"url":']), max_size=60
    )
)
def test_any_bytes_are_rows(tmp_path: Path, pieces: list[bytes]) -> None:
    """Whatever follows the header, reading ends, rows are numbered without gaps, and ids are unique."""
    for kind, head in (
        ("csv", b"url,caption\n"),
        ("tsv", b"url\tcaption\n"),
        ("jsonl", b'{"url":"u","caption":"c"}\n'),
    ):
        put(tmp_path, f"a.{kind}", head + b"".join(pieces))
        rows = rows_of(opened(tmp_path, f"a.{kind}"))
        assert only(rows, "source_row") == list(range(len(rows)))
        assert len(set(only(rows, "sample_id"))) == len(rows)
