"""Each format and compression gives the same rows; what no format may swallow is kept."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.pool.candidates import SCHEMA
from tests.stages.pool.pools import compress, encode, numbered, only, opened, put, rows_of


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_formats_agree(tmp_path: Path, kind: str, suffix: str) -> None:
    put(tmp_path, f"p.{kind}{suffix}", compress(encode(numbered(25), kind), suffix))
    rows = rows_of(opened(tmp_path, f"p.{kind}{suffix}"))
    assert only(rows, "url", "caption") == [(f"http://a.test/{i}", f"caption {i}") for i in range(25)]
    assert only(rows, "source_row") == list(range(25))
    assert [int(json.loads(e)["n"]) for e in only(rows, "extra")] == list(range(25))
    assert only(rows, "reason") == [None] * 25


def test_ids_do_not_depend_on_the_format(tmp_path: Path) -> None:
    ids = []
    for kind in ("parquet", "csv", "tsv", "jsonl"):
        put(tmp_path, f"p.{kind}", encode(numbered(5), kind))
        ids.append(only(rows_of(opened(tmp_path, f"p.{kind}")), "sample_id"))
    assert ids[0] == ids[1] == ids[2] == ids[3]
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in ids[0])


def test_parts_are_cut_by_count_across_files(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", encode(numbered(7), "csv"))
    put(tmp_path, "b.parquet", encode(numbered(6, 7), "parquet"))
    parts = list(opened(tmp_path, "a.csv", "b.parquet", part_rows=4).parts())
    assert [t.num_rows for t in parts] == [4, 4, 4, 1]
    assert all(t.schema.equals(SCHEMA) for t in parts)
    assert [u for t in parts for u in t["url"].to_pylist()] == [f"http://a.test/{i}" for i in range(13)]


def test_a_pool_larger_than_a_chunk_keeps_its_order(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", encode(numbered(20_000), "jsonl"))
    put(tmp_path, "a.parquet", encode(numbered(20_000), "parquet"))
    for name in ("a.jsonl", "a.parquet"):
        parts = list(opened(tmp_path, name, part_rows=3000).parts())
        assert [n for t in parts for n in t["source_row"].to_pylist()] == list(range(20_000))


def test_header_alone_is_no_row(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\n")
    assert rows_of(opened(tmp_path, "a.csv")) == []


def test_csv_quoting(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", '\ufeffurl,caption\r\nu0,"two\nlines, and a comma"\r\n\r\nu1,"say ""hi"""\r\nu2,last line')
    assert only(rows_of(opened(tmp_path, "a.csv")), "url", "caption", "source_row") == [
        ("u0", "two\nlines, and a comma", 0),
        ("u1", 'say "hi"', 1),
        ("u2", "last line", 2),
    ]


def test_tsv_with_and_without_quoting(tmp_path: Path) -> None:
    lines = ["caption\turl", '"quoted\ttab"\tu0', '"stray\tu1', 'he said "hi\tu2', '"closes here" not\tu3', 'a"\tu4']
    put(tmp_path, "a.tsv", "\n".join(lines))
    assert only(rows_of(opened(tmp_path, "a.tsv")), "url", "caption") == [
        ("u0", "quoted\ttab"),
        ("u1", '"stray'),
        ("u2", 'he said "hi'),
        ("u3", '"closes here" not'),
        ("u4", 'a"'),
    ]


def test_line_ends_of_other_systems(tmp_path: Path) -> None:
    for end in ("\r", "\r\n", "\n"):
        put(tmp_path, "a.csv", end.join(["url,caption", "u0,c0", "u1,c1", ""]))
        assert only(rows_of(opened(tmp_path, "a.csv")), "url", "caption") == [("u0", "c0"), ("u1", "c1")]


def test_control_characters_and_white_space_survive(tmp_path: Path) -> None:
    odd = " a\x00b\x0b\x1c\u2028\x85 c\t"
    rows = [{"url": "http://a.test/\x00", "caption": odd}]
    for kind in ("parquet", "csv", "jsonl"):
        put(tmp_path, f"p.{kind}", encode(rows, kind))
        assert only(rows_of(opened(tmp_path, f"p.{kind}")), "url", "caption") == [("http://a.test/\x00", odd)]


def test_jsonl_details(tmp_path: Path) -> None:
    put(tmp_path, "a.json", '\ufeff{"url": 5, "caption": true}\n\n  \n{"caption":"c","url":"u","n":NaN}')
    rows = rows_of(opened(tmp_path, "a.json"))
    assert only(rows, "url", "caption", "source_row", "extra") == [
        ("5", "true", 0, None),
        ("u", "c", 1, '{"n":null}'),
    ]


def test_parquet_types_become_text(tmp_path: Path) -> None:
    columns = {
        "url": pa.array(["a", "a", "b"]).dictionary_encode(),
        "caption": pa.array([b"x", b"y", b"z"]),
        "lang": pa.array([1, 2, None]),
        "sum": pa.array([bytes(32), None, bytes(range(32))], pa.binary(32)),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    columns_of = {"language": "lang", "sha256": "sum"}
    rows = rows_of(opened(tmp_path, "a.parquet", columns=columns_of))
    assert only(rows, "url", "caption", "language", "expected_sha256") == [
        ("a", "x", "1", "00" * 32),
        ("a", "y", "2", None),
        ("b", "z", None, bytes(range(32)).hex()),
    ]


def test_concatenated_gzip_is_read_to_the_end(tmp_path: Path) -> None:
    whole = compress(b"url,caption\nu0,c0\n", ".gz") + compress(b"u1,c1\n", ".gz")
    put(tmp_path, "a.csv.gz", whole)
    assert only(rows_of(opened(tmp_path, "a.csv.gz")), "url") == ["u0", "u1"]
