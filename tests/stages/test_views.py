"""SQL views over a build: what they hold, on any store, and what a query from outside cannot do."""

import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import WrongData, WrongRequest
from stages.store import Store
from stages.views import open_readonly, open_views, query
from tests.builders import (
    Rejected,
    build,
    sample,
    sid,
    write_duplicates,
    write_ledger,
    write_selection,
    write_shard_index,
)

SAMPLES = [
    sample(0, clip_score=0.5),
    sample(1, url=None, rejected=Rejected("pool", "missing_url")),
    sample(2, rejected=Rejected("download", "http_error", 404.0, None, "404")),
    sample(3, rejected=Rejected("measure/image", "undecodable")),
    sample(4, clip_score=0.25),
]


@pytest.fixture(params=["local", "awkward", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    where = {
        "local": str(tmp_path / "b"),
        "awkward": str(tmp_path / "it's a=1 [x]*?" / "b"),
        "memory": "memory://views/b",
    }
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
    return build(where[request.param], SAMPLES, part_rows=3)


def rows(store: Store, sql: str) -> list[tuple]:
    con = open_views(store)
    try:
        return con.execute(sql).fetchall()
    finally:
        con.close()


def test_position_comes_from_the_file_and_the_row_in_it(store: Store) -> None:
    found = rows(store, "SELECT part, row, sample_id FROM pool ORDER BY part, row")
    assert found == [(0, 0, sid(0)), (0, 1, sid(1)), (0, 2, sid(2)), (1, 0, sid(3)), (1, 1, sid(4))]


def test_samples_put_the_families_side_by_side(store: Store) -> None:
    found = rows(store, "SELECT sample_id, caption, width, clip_score FROM samples ORDER BY part, row")
    assert found == [
        (sid(0), "caption 0", 16, 0.5),
        (sid(1), "caption 1", None, None),
        (sid(2), "caption 2", None, None),
        (sid(3), "caption 3", 16, None),
        (sid(4), "caption 4", 16, 0.25),
    ]


def test_samples_keep_the_url_of_the_pool(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(1, url=None, rejected=Rejected("pool", "missing_url")), sample(2)])
    assert rows(store, "SELECT url FROM samples ORDER BY sample_id") == [(None,), ("http://host.test/2.png",)]


def test_evidence_is_in_each_family_and_in_no_joined_view(store: Store) -> None:
    assert rows(store, "SELECT sample_id, reason, value, detail FROM parts WHERE reason IS NOT NULL") == [
        (sid(2), "http_error", 404.0, "404")
    ]
    assert rows(store, "SELECT sample_id FROM measure_image WHERE reason = 'undecodable'") == [(sid(3),)]
    columns = {name for (name, *_) in rows(store, "DESCRIBE measures")}
    assert {"pdq", "clip_score", "caption_words", "part", "row"} <= columns
    assert not columns & {"reason", "value", "threshold", "detail"}


def test_global_files_are_views_once_they_exist(tmp_path: Path) -> None:
    store = build(tmp_path, SAMPLES, part_rows=3)
    names = {n for (n,) in rows(store, "SHOW TABLES")}
    assert not names & {"groups", "ledger", "ledger_counts", "selection", "shards"}
    link = {"sample_id": sid(4), "group": sid(0), "kind": "near", "distance": 3.0, "linked_to": sid(0)}
    write_duplicates(store, [link])
    write_selection(
        store,
        [
            {"sample_id": sid(i), "part": i // 3, "row": i % 3, "kept": i == 0, "reason": None if i == 0 else f"r{i}"}
            for i in range(5)
        ],
    )
    rejection = {"sample_id": sid(2), "part": 0, "row": 2, "stage": "download", "reason": "http_error"}
    write_ledger(store, [rejection], [{"stage": "download", "rows_in": 4, "kept": 3, "rejected": 1}])
    entry = dict.fromkeys(("position", "image_offset", "image_size", "json_offset", "json_size"), 0)
    entry |= dict.fromkeys(("txt_offset", "txt_size", "width", "height"), 0)
    text = {"shard": "train-000000.tar", "split": "train", "key": "k", "image_ext": "png", "image_sha256": "0"}
    write_shard_index(store, [{"sample_id": sid(0), **text, **entry}])
    assert rows(store, 'SELECT "group" FROM groups') == [(sid(0),)]
    assert rows(store, "SELECT reason FROM ledger") == [("http_error",)]
    assert rows(store, "SELECT rejected FROM ledger_counts") == [(1,)]
    assert rows(store, "SELECT shard FROM shards") == [("train-000000.tar",)]
    assert rows(store, "SELECT sample_id, reason FROM samples WHERE NOT kept ORDER BY sample_id") == [
        (sid(i), f"r{i}") for i in range(1, 5)
    ]


def test_a_build_under_way_has_the_views_of_what_exists(tmp_path: Path) -> None:
    store = build(tmp_path, SAMPLES, part_rows=3, families=["pool", "parts", "measures/clip"])
    store.remove("measures/clip/00001.parquet")
    assert {n for (n,) in rows(store, "SHOW TABLES")} == {"pool", "parts", "measure_clip", "measures", "samples"}
    assert rows(store, "SELECT sample_id, clip_score FROM samples WHERE part = 1 ORDER BY row") == [
        (sid(3), None),
        (sid(4), None),
    ]


def test_files_of_parts_that_the_pool_no_longer_has_are_left_out(tmp_path: Path) -> None:
    store = build(tmp_path, SAMPLES, part_rows=3)
    store.remove("pool/00001.parquet")
    assert rows(store, "SELECT count(*) FROM parts") == [(3,)]


def test_a_family_asked_for_and_absent_is_an_empty_view(tmp_path: Path) -> None:
    store = build(tmp_path, SAMPLES, families=["pool"])
    con = open_views(store, ["pool", "measures/pdq"])
    assert con.execute("SELECT count(*), count(pdq) FROM samples").fetchall() == [(5, 0)]
    con.close()
    with pytest.raises(WrongRequest, match="measures/nope"):
        open_views(store, ["pool", "measures/nope"])


def test_readonly_answers_questions(store: Store) -> None:
    con = open_readonly(store)
    assert query(con, "SELECT count(*) AS n FROM samples").to_pylist() == [{"n": 5}]
    assert query(con, "WITH a AS (SELECT 1 AS x) SELECT x FROM a;").to_pylist() == [{"x": 1}]
    assert query(con, "FROM range(3)").num_rows == 3
    assert {"samples", "pool"} <= set(query(con, "SHOW TABLES").column("name").to_pylist())
    assert "clip_score" in query(con, "DESCRIBE samples").column("column_name").to_pylist()
    assert query(con, "SUMMARIZE measures").num_rows == query(con, "DESCRIBE measures").num_rows
    assert query(con, "EXPLAIN SELECT clip_score FROM samples").num_rows == 1
    con.close()


def test_readonly_needs_a_build(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="holds no build"):
        open_readonly(Store(str(tmp_path / "nothing")))


ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM pool WHERE sample_id IN (SELECT content FROM read_blob('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "DESCRIBE SELECT * FROM read_text('/etc/passwd')",
    "SUMMARIZE SELECT * FROM read_text('/etc/passwd')",
    "EXPLAIN SELECT * FROM read_text('/etc/passwd')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{tmp}/out.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'pairmill-build://pool/00000.parquet'",
    "COPY (SELECT 1) TO '{tmp}/out.csv'",
    "COPY pool TO 'pairmill-build://pool/00000.parquet'",
    "EXPORT DATABASE '{tmp}/out'",
    "ATTACH '{tmp}/out.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE TABLE t AS SELECT 1",
    "CREATE SECRET s (TYPE s3)",
    "DROP VIEW pool",
    "DELETE FROM pool",
    "WITH x AS (DELETE FROM pool RETURNING 1) SELECT * FROM x",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SELECT 1; COPY (SELECT 1) TO '{tmp}/out.csv'",
    "SELECT getenv('HOME')",
    "SELECT * FROM python_variable",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "",
    "-- nothing",
]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A build, and the folder that holds it and nothing else."""
    folder = tmp_path_factory.mktemp("attacked")
    return build(folder / "b", SAMPLES), folder


def unharmed(victim: tuple[Store, Path]) -> list[str]:
    """The folder's content and every file's hash."""
    store, folder = victim
    return [*(p.name for p in folder.iterdir()), *(name + store.sha256(name) for name in store.walk())]


@pytest.mark.parametrize("sql", ATTACKS)
def test_readonly_refuses(sql: str, victim: tuple[Store, Path]) -> None:
    python_variable = pa.table({"secret": [1]})
    before = unharmed(victim)
    con = open_readonly(victim[0])
    with pytest.raises(WrongRequest):
        query(con, sql.format(tmp=victim[1]))
    con.close()
    assert python_variable.num_rows == 1
    assert unharmed(victim) == before


REACHES_OUT = [s for s in ATTACKS if re.search("/|SET|http|SECRET", s) and not s.startswith("EXPLAIN SEL")]


@pytest.mark.parametrize("sql", REACHES_OUT)
def test_the_connection_itself_reaches_nothing_even_unchecked(sql: str, victim: tuple[Store, Path]) -> None:
    import duckdb

    before = unharmed(victim)
    con = open_readonly(victim[0])
    with pytest.raises((duckdb.Error, PermissionError, FileNotFoundError)):
        con.execute(sql.format(tmp=victim[1])).fetchall()
    con.close()
    assert unharmed(victim) == before


def test_a_wrong_query_is_told_in_one_line(tmp_path: Path) -> None:
    con = open_readonly(build(tmp_path, SAMPLES))
    for sql, word in (("SELECT clip_scor FROM samples", "clip_scor"), ("SELEC 1", "SELEC"), ("SELECT 1/'a'", "a")):
        with pytest.raises(WrongRequest, match=word) as caught:
            query(con, sql)
        assert "\n" not in str(caught.value)
    con.close()


@pytest.mark.parametrize("trouble", ["lost", "torn", "not Parquet", "broken page"])
def test_a_file_that_cannot_be_read_is_the_builds_fault(trouble: str, tmp_path: Path) -> None:
    store = build(tmp_path, SAMPLES, part_rows=3)
    file = tmp_path / "pool" / "00001.parquet"
    whole = file.read_bytes()
    if trouble == "not Parquet":
        file.write_bytes(b"x" * len(whole))
    elif trouble == "broken page":
        file.write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
    con = open_readonly(store)
    if trouble == "lost":
        file.unlink()
    elif trouble == "torn":
        file.write_bytes(whole[:100])
    with pytest.raises(WrongData, match=r"cannot be read: .*; run `pairmill verify` on it") as caught:
        query(con, "SELECT * FROM pool")
    con.close()
    assert "Traceback" not in str(caught.value)
    assert trouble in ("torn", "broken page") or "pool/00001.parquet" in str(caught.value)


def test_a_question_asked_twice_sees_the_same_rows(tmp_path: Path) -> None:
    con = open_readonly(build(tmp_path, [sample(i) for i in range(40)]))
    first = query(con, "SELECT * FROM samples ORDER BY part, row")
    assert query(con, "SELECT * FROM samples ORDER BY part, row").equals(first)
    assert first.num_rows == 40
    con.close()


def test_files_of_another_version_are_named(tmp_path: Path) -> None:
    store = build(str(tmp_path / "b"), SAMPLES, part_rows=3)
    file = tmp_path / "b" / "pool" / "00001.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["caption"]), file)
    pq.write_table(pq.read_table(other := file.with_name("00000.parquet")).drop_columns(["caption"]), other)
    with pytest.raises(WrongData, match=r"pool/00000\.parquet was written by another version.*caption.*pairmill build"):
        open_readonly(store)
