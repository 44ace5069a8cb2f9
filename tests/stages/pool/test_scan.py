"""Repeats are found over all files in bounded memory, and ids are unique in the whole pool."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.row import cast
from stages.pool import scan as scan_module
from stages.pool.candidates import SCHEMA
from stages.pool.scan import scan
from stages.store import Store, content_hash, sealed
from tests.stages.pool.pools import encode, numbered, only, opened, put, rows_of

SHARED = Path(__file__).parents[4] / "shared" / "data"


def test_repeats_across_files_and_parts(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\nu,c\nv,c\nu,c\n")
    put(tmp_path, "b.jsonl", '{"url":"v","caption":"c"}\n{"url":"u","caption":"c"}\n{"url":"u","caption":"d"}\n')
    pool = opened(tmp_path, "a.csv", "b.jsonl", part_rows=2)
    found = scan(pool)
    assert found.rows == 6
    assert [dict(p.repeats) for p in found.parts] == [{}, {0: 1, 1: 1}, {0: 2}]
    rows = rows_of(pool)
    ids = only(rows, "sample_id")
    assert len(set(ids)) == 6
    assert only(rows, "reason") == [None, None, "repeated_row", "repeated_row", "repeated_row", None]
    assert only(rows, "detail") == [None, None, ids[0], ids[1], ids[0], None]


def test_content_is_that_of_the_rows_before_repeats(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\nu,c\nu,c\n")
    pool = opened(tmp_path, "a.csv")
    (part,) = scan(pool).parts
    (table,) = pool.parts()
    assert part.content == content_hash(table)
    assert table["reason"].null_count == 2


def test_content_survives_the_store(tmp_path: Path) -> None:
    boxes = '[{"label":"cat","x":1,"y":2,"w":3,"h":4},{"label":null,"x":1,"y":2,"w":3,"h":4}]'
    put(tmp_path, "a.csv", f'url,caption,b\nu,c,\nv,c,"{boxes.replace(chr(34), 2 * chr(34))}"\nbad\nw,,[]\n')
    store = Store(str(tmp_path / "build"))
    for i, table in enumerate(opened(tmp_path, "a.csv", part_rows=3, columns={"boxes": "b"}).parts()):
        store.write_table(f"pool/{i}.parquet", table, sealed(table, "f", "pool"))
        assert content_hash(cast(store.read_table(f"pool/{i}.parquet"), SCHEMA, "pool")) == content_hash(table)


def test_only_the_touched_parts_change(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", encode(numbered(10), "csv"))
    before = scan(opened(tmp_path, "a.csv", part_rows=3)).parts
    rows = numbered(10)
    rows[4]["caption"] = "another"
    put(tmp_path, "a.csv", encode(rows, "csv"))
    after = scan(opened(tmp_path, "a.csv", part_rows=3)).parts
    assert [b.content == a.content for b, a in zip(before, after, strict=True)] == [True, False, True, True]


def test_rejected_rows_repeat_nothing(tmp_path: Path) -> None:
    """A row without a caption does not take the good row of the same key with it."""
    put(tmp_path, "a.csv", "id,url,caption\nk,u,\nk,u,c\nk,u,\nbad\nbad\n")
    rows = rows_of(opened(tmp_path, "a.csv", columns={"key": "id"}))
    assert only(rows, "reason") == ["missing_caption", None, "missing_caption", "malformed_row", "malformed_row"]
    assert len(set(only(rows, "sample_id"))) == 5


def test_url_and_caption_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", encode([{"url": "a\0b", "caption": "c"}, {"url": "a", "caption": "b\0c"}], "jsonl"))
    assert only(rows_of(opened(tmp_path, "a.jsonl")), "reason") == [None, None]


def test_spilled_scan_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = numbered(5000)
    for i in range(0, 5000, 10):
        rows[i] = rows[i // 3]
    put(tmp_path, "a.parquet", encode(rows, "parquet"))
    pool = opened(tmp_path, "a.parquet", part_rows=700)
    whole = scan(pool)
    monkeypatch.setattr(scan_module, "_BUFFER_ROWS", 512)
    spilled = scan(pool)
    assert [dict(p.repeats) for p in spilled.parts] == [dict(p.repeats) for p in whole.parts]
    seen: dict[str, int] = {}
    expected: dict[int, int] = {}
    for i, row in enumerate(rows):
        seen[row["url"]] = seen.get(row["url"], -1) + 1
        if seen[row["url"]]:
            expected[i] = seen[row["url"]]
    assert {p * 700 + r: o for p, part in enumerate(whole.parts) for r, o in part.repeats.items()} == expected


def test_one_row_repeated_through_the_whole_pool(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\n" + "u,c\n" * 1000)
    pool = opened(tmp_path, "a.csv", part_rows=300)
    found = scan(pool)
    assert [len(p.repeats) for p in found.parts] == [299, 300, 300, 100]
    assert found.parts[3].repeats[99] == 999
    with pytest.raises(KeyError):
        found.parts[0].repeats[0]
    assert len(set(only(rows_of(pool), "sample_id"))) == 1000


def test_empty_pool(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "url,caption\n")
    found = scan(opened(tmp_path, "a.csv"))
    assert (found.rows, found.parts) == (0, [])


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data is not at {SHARED}")
class TestRealData:
    def test_web_captions(self) -> None:
        pool = opened(SHARED, "web-captions-10000.parquet", columns={"url": "caption"})
        rows = rows_of(pool)
        captions = pq.read_table(SHARED / "web-captions-10000.parquet")["caption"].to_pylist()
        assert only(rows, "caption") == captions
        assert len(set(only(rows, "sample_id"))) == 10_000
        assert sum(r["reason"] == "repeated_row" for r in rows) == len(captions) - len(set(captions))

    def test_photos_with_boxes(self) -> None:
        names = {"url": "file", "caption": "license", "boxes": "boxes"}
        rows = rows_of(opened(SHARED, "photos.parquet", columns=names))
        boxes = pq.read_table(SHARED / "photos.parquet")["boxes"].to_pylist()
        assert len(rows) == 228
        assert [len(r["boxes"]) for r in rows] == [len(b) for b in boxes]
        assert rows[0]["boxes"][0]["label"] == boxes[0][0]["label"]
        assert all('"polygons":[' in r["extra"] for r in rows)
