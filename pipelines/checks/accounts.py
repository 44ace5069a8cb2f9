"""The account over the whole build: every sample_id once, and what is kept against what lies in the shards.

Both sides are hashed where they lie and meet in DuckDB, which spills to disk: shards are shuffled, so no
two rows that belong together are near each other.
"""

from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from pipelines.checks.finding import Finding, some
from stages.sql import connect

KEPT = pa.schema([(name, pa.string()) for name in ("sample_id", "split", "image", "json", "txt", "masks")])
"""A kept sample as the families say it must be: sha256 of image, json, txt and, where there are masks, masks.json."""
PLACED = pa.schema([pa.field("shard", pa.string()), *KEPT])
"""A sample as found in a shard's tar; shard is the file name of the tar."""
_MOST = 1000
_MEANING = {"image": "image", "json": "JSON", "txt": "caption", "masks": "masks.json", "split": "split"}


class Accounts:
    """Rows are added part by part and shard by shard, in any order, and compared at the end."""

    def __init__(self, memory: str = "2GB") -> None:
        self._con = connect(memory)
        for name, schema in (("kept", KEPT), ("placed", PLACED), ("pool", pa.schema([KEPT.field(0)]))):
            self._con.register("like_this", schema.empty_table())
            self._con.execute(f"CREATE TABLE {name} AS SELECT * FROM like_this")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._con.close()

    def add(self, table: str, rows: pa.Table) -> None:
        """`table`: pool (sample_id), kept or placed."""
        self._con.register("new_rows", rows)
        self._con.execute(f"INSERT INTO {table} SELECT * FROM new_rows")
        self._con.unregister("new_rows")

    def kept(self) -> int:
        """Kept samples that lie in a shard."""
        ((count,),) = self._all("SELECT count(DISTINCT sample_id) FROM kept JOIN placed USING (sample_id)")
        return count

    def repeated(self) -> list[Finding]:
        """sample_ids that the pool has twice."""
        return self._by_file(
            "SELECT 'pool', sample_id FROM pool GROUP BY sample_id HAVING count(*) > 1", "in the pool more than once"
        )

    def compare(self) -> list[Finding]:
        """Kept and in no shard, in a shard and not kept, in two places, or there with other bytes than it should."""
        found = self._by_file(
            "SELECT 'shards/index.parquet', sample_id FROM kept ANTI JOIN placed USING (sample_id)",
            "kept and in no shard",
        )
        found += self._by_file(
            "SELECT 'shards/' || shard, sample_id FROM placed ANTI JOIN kept USING (sample_id)", "in it and not kept"
        )
        found += self._by_file(
            "SELECT 'shards/' || max(shard), sample_id FROM placed GROUP BY sample_id HAVING count(*) > 1",
            "in more than one place",
        )
        for column, meaning in _MEANING.items():
            found += self._by_file(
                "SELECT 'shards/' || shard, sample_id FROM placed AS p JOIN kept AS k USING (sample_id) "
                f"WHERE p.{column} IS DISTINCT FROM k.{column}",
                f"in it with another {meaning} than the columns say",
            )
        return found

    def crowded(self, groups: pa.Table) -> list[Finding]:
        """Duplicate groups of which more than one member is kept."""
        self._con.register("groups", groups.select(["sample_id", "group"]))
        query = (
            "SELECT 'selection.parquet', min(sample_id) FROM kept JOIN groups USING (sample_id) "
            'GROUP BY "group" HAVING count(*) > 1'
        )
        return self._by_file(query, "kept beside another member of its duplicate group")

    def _by_file(self, query: str, what: str) -> list[Finding]:
        """One finding per file over the (file, sample_id) rows of a query."""
        files: dict[str, list[str]] = {}
        for file, sample_id in self._all(f"SELECT * FROM ({query}) ORDER BY ALL LIMIT {_MOST}"):
            files.setdefault(file, []).append(sample_id)
        return [Finding(file, some(ids, what)) for file, ids in files.items()]

    def _all(self, query: str) -> list[Any]:
        return self._con.execute(query).fetchall()
