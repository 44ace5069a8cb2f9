"""Files that cover every part, read once from front to back and cut into parts."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.checks.finding import Finding, Findings, Scope
from pipelines.checks.parquet import TORN, breach, check_parquet, contract
from pipelines.ledger import PARTS_PER_FILE, ledger_file
from schemas.errors import WrongData
from schemas.ledger import Rejection, Selected, ShardEntry
from stages.shard.rows import RowStream
from stages.shard.run import INDEX
from stages.store import ROWS_AT_ONCE, ContentHasher, content_hash


def check_global(scope: Scope, name: str, schema: pa.Schema) -> tuple[bool, list[Finding]]:
    """A file over all parts: bytes, seal, contract, a batch in memory at a time. Whether it can be used."""
    if name not in scope.sizes:
        return False, [Finding(name, "is missing")]
    found = scope.against_manifest(name, scope.sizes[name], scope.store.sha256(name))
    try:
        broken, content, rows = _read_through(scope, name, schema)
    except WrongData as error:
        return False, [*found, Finding(name, error.what.removeprefix(f"{name} "))]
    except TORN as error:
        return False, [*found, Finding(name, f"cannot be read: {error}")]
    if broken:
        return False, [*found, *broken]
    seal = scope.store.seal(name)
    if seal is None or (seal.content, seal.rows) != (content, rows):
        found.append(Finding(name, "its rows are not those that its seal was made for"))
    return True, found


def _read_through(scope: Scope, name: str, schema: pa.Schema) -> tuple[list[Finding], str, int]:
    """What breaks the contract, the content hash, the number of rows."""
    stream = RowStream(scope.store, name)
    try:
        broken, hasher = contract(name, stream.take(0), schema), ContentHasher(schema)
        while not broken and (rows := stream.take(ROWS_AT_ONCE)).num_rows:
            rows.validate(full=True)
            broken = breach(name, rows, schema)
            hasher.write(rows)
        return broken, hasher.finish(), stream.rows
    finally:
        stream.close()


class SelectionSlices:
    """Rows of selection.parquet or final.parquet part by part, asked for in order."""

    def __init__(self, scope: Scope, findings: Findings, name: str) -> None:
        self._findings, self._name = findings, name
        usable, found = check_global(scope, name, Selected.arrow_schema())
        findings.add(found)
        self._stream = RowStream(scope.store, name) if usable else None
        self._held = Selected.arrow_schema().empty_table()

    def of(self, part: int) -> pa.Table | None:
        """The rows of a part; None where the file cannot be read."""
        pieces: list[pa.Table] = []
        while self._stream is not None and self._fill():
            of = np.asarray(self._held["part"])
            others = np.flatnonzero(of != part)
            count = int(others[0]) if others.size else len(of)
            pieces.append(self._held.slice(0, count))
            self._held = self._held.slice(count)
            if others.size:
                break
        if self._stream is None:
            return None
        return pa.concat_tables(pieces) if pieces else self._held.slice(0, 0)

    @property
    def readable(self) -> bool:
        """Whether the file could be read so far."""
        return self._stream is not None

    def close(self) -> None:
        """Report what belongs to no part."""
        if self._stream is not None and self._fill():
            part = self._held["part"][0].as_py()
            self._findings.add([Finding(self._name, f"holds rows of part {part} where none may be")])
        if self._stream is not None:
            self._stream.close()

    def _fill(self) -> bool:
        """Whether there is a row; drops the file where it turns out to be torn."""
        if self._held.num_rows == 0 and self._stream is not None:
            try:
                self._held = self._stream.take(ROWS_AT_ONCE)
            except WrongData as error:
                self._findings.add([Finding(self._name, error.what.removeprefix(f"{self._name} "))])
                self._stream.close()
                self._stream = None
                return False
        return self._held.num_rows > 0


class LedgerSlices:
    """Rows of the ledger part by part, asked for in order; one file in memory."""

    def __init__(self, scope: Scope, findings: Findings, parts: int) -> None:
        self._scope, self._findings, self._parts = scope, findings, parts
        self._name = ""
        self._table: pa.Table | None = None

    def of(self, part: int) -> pa.Table | None:
        """The rows of a part; None where the file cannot be read."""
        name = ledger_file(part)
        if name != self._name:
            self._name = name
            checked = check_parquet(self._scope, name, Rejection.arrow_schema())
            self._findings.add(checked.findings)
            self._table = checked.table
            self._findings.add(self._strays(part))
        if self._table is None:
            return None
        return self._table.filter(pa.array(np.asarray(self._table["part"]) == part))

    def _strays(self, first: int) -> Iterator[Finding]:
        parts = np.asarray(self._table["part"]) if self._table is not None else np.empty(0, int)
        wrong = (parts < first) | (parts >= min(first + PARTS_PER_FILE, self._parts))
        if wrong.any():
            yield Finding(self._name, f"holds rows of part {int(parts[wrong][0])}, which are not its own")


class IndexCheck:
    """shards/index.parquet is the shards' own indexes one after another; they are handed in in order."""

    def __init__(self, scope: Scope, findings: Findings) -> None:
        usable, found = check_global(scope, INDEX, ShardEntry.arrow_schema())
        findings.add(found)
        self._findings = findings
        self._stream = RowStream(scope.store, INDEX) if usable else None

    def next(self, shard: str, index: pa.Table | None) -> None:
        """Compare the next shard's rows. Where a shard's index cannot be read the rest cannot be placed."""
        if self._stream is None:
            return
        if index is None:
            self._stop()
        elif content_hash(self._take(index.num_rows)) != content_hash(index):  # unlike equals, NaN is NaN
            self._stop(f"its rows of {shard}.tar are not those of shards/{shard}.parquet")

    def close(self) -> None:
        """Report what belongs to no shard."""
        if self._stream is not None and self._take(1).num_rows:
            self._stop("holds rows of no shard")
        self._stop()

    def _take(self, rows: int) -> pa.Table:
        try:
            return self._stream.take(rows) if self._stream else ShardEntry.arrow_schema().empty_table()
        except WrongData as error:
            self._stop(error.what.removeprefix(f"{INDEX} "))
            return ShardEntry.arrow_schema().empty_table()

    def _stop(self, why: str | None = None) -> None:
        if why is not None:
            self._findings.add([Finding(INDEX, why)])
        if self._stream is not None:
            self._stream.close()
        self._stream = None
