"""Requests that do not fit, and files that break: one line that names the thing and the remedy."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import WrongData, WrongRequest
from tests.stages.pool.pools import compress, encode, numbered, only, opened, put, rows_of


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match=r"no file matches 'nowhere\.csv'"):
        opened(tmp_path, "nowhere.csv")


@pytest.mark.parametrize("path", ["*.csv", "empty", "s3x://bucket/a.csv"])
def test_path_that_matches_nothing(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path, "empty/_SUCCESS", "")
    with pytest.raises(WrongRequest, match=r"pool\.paths"):
        opened(tmp_path, path)


def test_unknown_ending_names_file_and_formats(tmp_path: Path) -> None:
    put(tmp_path, "a.orc", "")
    with pytest.raises(WrongRequest, match=r"a\.orc.*parquet, csv, tsv or jsonl"):
        opened(tmp_path, "a.orc")


def test_format_overrides_the_ending(tmp_path: Path) -> None:
    put(tmp_path, "a.txt.gz", compress(encode(numbered(2), "csv"), ".gz"))
    assert len(rows_of(opened(tmp_path, "a.txt.gz", format="csv"))) == 2


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_absent_column_names_column_file_and_match(tmp_path: Path, kind: str) -> None:
    put(tmp_path, f"a.{kind}", encode([{"URL": "u", "caption": "c"}], kind))
    with pytest.raises(
        WrongRequest, match=rf"pool\.columns\.url: .*a\.{kind} has no column 'url'.*'URL'.*URL, caption"
    ):
        opened(tmp_path, f"a.{kind}")


def test_second_file_is_checked_too(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\n")
    put(tmp_path, "b.csv", "url,text\n")
    with pytest.raises(WrongRequest, match=r"b\.csv has no column 'caption'"):
        opened(tmp_path, "*.csv")


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption,url\nu,c,v\n")
    with pytest.raises(WrongRequest, match="two columns 'url'"):
        opened(tmp_path, "a.csv")


@pytest.mark.parametrize(
    ("role", "value"),
    [("caption", pa.array([["a", "b"]])), ("boxes", pa.array([[[1.0, 2.0]]])), ("boxes", pa.array([5]))],
)
def test_column_of_a_type_that_cannot_be(tmp_path: Path, role: str, value: pa.Array) -> None:
    columns = {"url": pa.array(["u"]), "caption": pa.array(["c"]), "boxes": pa.array(["[]"]), role: value}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(WrongRequest, match=rf"pool\.columns\.{role}: .* is "):
        opened(tmp_path, "a.parquet", columns={"boxes": "boxes"})


def test_extra_column_that_json_cannot_hold(tmp_path: Path) -> None:
    twins = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(pa.table({"url": ["u"], "caption": ["c"], "twins": twins}), tmp_path / "a.parquet")
    with pytest.raises(WrongRequest, match=r"column 'twins' of .*a\.parquet .*two fields of one name"):
        opened(tmp_path, "a.parquet")
    assert len(rows_of(opened(tmp_path, "a.parquet", extra=False))) == 1


def test_file_without_header(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "\n\n")
    with pytest.raises(WrongRequest, match=r"a\.csv has no header"):
        opened(tmp_path, "a.csv")


@pytest.mark.parametrize("text", ['[{"url": "u", "caption": "c"}]', '[\n {"url": "u"}\n]'])
def test_json_array_is_refused(tmp_path: Path, text: str) -> None:
    put(tmp_path, "a.json", text)
    with pytest.raises(WrongRequest, match="one JSON array"):
        opened(tmp_path, "a.json")


def test_utf16_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\nu,c\n".encode("utf-16"))
    with pytest.raises(WrongData, match="UTF-16"):
        opened(tmp_path, "a.csv")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_torn_compressed_file(tmp_path: Path, kind: str, suffix: str) -> None:
    rows = [{"url": f"u{i}", "caption": random.Random(i).randbytes(8).hex()} for i in range(20_000)]
    whole = compress(encode(rows, kind), suffix)
    put(tmp_path, f"a.{kind}{suffix}", whole[: len(whole) // 2])
    with pytest.raises(WrongData, match=rf"a\.{kind}\{suffix} cannot be read: .*Truncated"):
        rows_of(opened(tmp_path, f"a.{kind}{suffix}"))


def test_name_that_lies_about_compression(tmp_path: Path) -> None:
    put(tmp_path, "a.csv.gz", b"url,caption\n")
    with pytest.raises(WrongData, match=r"a\.csv\.gz cannot be read"):
        opened(tmp_path, "a.csv.gz")


def test_torn_parquet(tmp_path: Path) -> None:
    whole = encode(numbered(100), "parquet")
    put(tmp_path, "a.parquet", whole[: len(whole) // 2])
    with pytest.raises(WrongData, match=r"a\.parquet cannot be read"):
        opened(tmp_path, "a.parquet")


def test_flipped_byte_in_a_parquet_page(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(numbered(5000)), tmp_path / "a.parquet", write_page_checksum=True)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[len(data) // 3] ^= 0x10
    put(tmp_path, "a.parquet", bytes(data))
    with pytest.raises(WrongData, match=r"a\.parquet cannot be read"):
        rows_of(opened(tmp_path, "a.parquet"))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_file_that_vanishes(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path, f"a.{kind}", encode(numbered(3), kind))
    pool = opened(tmp_path, f"a.{kind}")
    path.unlink()
    with pytest.raises(WrongData, match=rf"a\.{kind} cannot be read"):
        rows_of(pool)


def test_order_is_that_of_the_paths_and_sorted_inside(tmp_path: Path) -> None:
    for name in ("z.csv", "f/b.csv", "f/a.csv", "f/sub/c.csv", "g-2.csv", "g-10.csv"):
        put(tmp_path, name, f"url,caption\n{name},c\n")
    pool = opened(tmp_path, "z.csv", "g-*.csv", "f", "z.csv")
    names = ["z.csv", "g-10.csv", "g-2.csv", "f/a.csv", "f/b.csv", "f/sub/c.csv"]
    assert pool.source_names == names
    assert only(rows_of(pool), "url", "source") == [(n, n) for n in names]


def test_hidden_files_are_left_out_unless_named(tmp_path: Path) -> None:
    for name in ("f/a.csv", "f/_SUCCESS", "f/.a.csv.crc", "f/_tmp/b.csv", "f/.hidden.csv"):
        put(tmp_path, name, f"url,caption\n{name},c\n")
    assert opened(tmp_path, "f").source_names == ["a.csv"]
    assert opened(tmp_path, "f/*").source_names == ["a.csv"]
    assert opened(tmp_path, "f/.hidden.csv").source_names == [".hidden.csv"]
    assert opened(tmp_path, "f/.h*.csv").source_names == [".hidden.csv"]


def test_name_with_glob_characters_is_a_name_first(tmp_path: Path) -> None:
    put(tmp_path, "a[1].csv", "url,caption\nu,c\n")
    put(tmp_path, "a1.csv", "url,caption\nv,c\n")
    assert only(rows_of(opened(tmp_path, "a[1].csv")), "url") == ["u"]


def test_nothing_depends_on_where_the_pool_lies(tmp_path: Path) -> None:
    found = []
    for base in ("here", "far/away"):
        put(tmp_path, f"{base}/x/a.csv", "url,caption\nu,c\nbad\n")
        put(tmp_path, f"{base}/y/b.csv", "url,caption\nv,c\n")
        found.append(rows_of(opened(tmp_path / base, "x/a.csv", "y/b.csv")))
    assert found[0] == found[1]
    assert only(found[0], "source") == ["x/a.csv", "x/a.csv", "y/b.csv"]


def test_fsspec_urls(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    put(tmp_path, "l.csv", "url,caption\nlocal,c\n")
    try:
        memory.pipe_file("/pool-test/a.parquet", encode(numbered(3), "parquet"))
        memory.pipe_file("/pool-test/b.jsonl.gz", compress(encode(numbered(2, 3), "jsonl"), ".gz"))
        pool = opened(tmp_path, "memory://pool-test/*", "l.csv")
        assert pool.source_names == ["memory:a.parquet", "memory:b.jsonl.gz", "file:l.csv"]
        assert only(rows_of(pool), "url") == [*(f"http://a.test/{i}" for i in range(5)), "local"]
    finally:
        memory.rm("/pool-test", recursive=True)


def test_jsonl_without_rows_has_no_rows(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "\n \n")
    put(tmp_path, "b.jsonl", json.dumps({"url": "u", "caption": "c"}))
    assert len(rows_of(opened(tmp_path, "*.jsonl"))) == 1
