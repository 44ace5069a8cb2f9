"""The rows of a build side by side: every family of a part joined by position, and global files cut into parts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import WrongData
from stages.ahead import ahead
from stages.families import SELECTION, part_file
from stages.shard.document import sharded_schema
from stages.store import Store

_BATCH = 65_536


class RowStream:
    """A Parquet file read from its first row to its last, a few thousand rows in memory at a time."""

    def __init__(self, store: Store, name: str, columns: list[str] | None = None) -> None:
        self._name = name
        self._file = store.open(name)
        try:
            self._parquet = pq.ParquetFile(self._file)
            self._batches = self._parquet.iter_batches(_BATCH, columns=columns)
            whole = self._parquet.schema_arrow
            self._empty = pa.schema([whole.field(c) for c in columns or whole.names]).empty_table()
        except (pa.ArrowInvalid, OSError) as error:
            raise WrongData(f"{name} cannot be read: {error}", "delete it and run the build again") from error
        self.rows: int = self._parquet.metadata.num_rows
        self._held: pa.Table = self._empty

    def take(self, rows: int) -> pa.Table:
        """The next `rows` rows, or what is left of them. Raises WrongData where the file is torn."""
        held = self._held
        while held.num_rows < rows and (batch := self._next()) is not None:
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        self._held = held.slice(rows)
        return held.slice(0, rows)

    def close(self) -> None:
        self._file.close()

    def _next(self) -> pa.RecordBatch | None:
        try:
            return next(self._batches, None)
        except (pa.ArrowInvalid, OSError) as error:
            raise WrongData(f"{self._name} is torn: {error}", "delete it and run the build again") from error


def side_by_side(store: Store, families: list[str], part: int) -> pa.Table:
    """All rows of a part with `sharded_schema(families)`. Raises WrongData where the families' rows do not match."""
    schema = sharded_schema(families)
    columns: dict[str, pa.ChunkedArray] = {}
    for family in families:
        name = part_file(family, part)
        table = store.read_table(name)
        if columns and table["sample_id"] != columns["sample_id"]:
            raise WrongData(f"{name} does not hold the rows of its part", "run `pairmill verify` on the build")
        for column in table.column_names:
            if column not in columns and column in schema.names:
                columns[column] = table[column]
    rows = len(columns["sample_id"])
    columns["part"] = pa.chunked_array([pa.array([part] * rows, pa.int32())])
    columns["row"] = pa.chunked_array([pa.array(np.arange(rows), pa.int32())])
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


@dataclass(frozen=True, slots=True)
class Kept:
    """What select kept, part after part."""

    store: Store
    families: list[str]
    parts: int
    decided: str = SELECTION
    """The file with every row's final state."""

    def __iter__(self) -> Iterator[pa.Table]:
        """Tables with `sharded_schema(families)`, in (part, row) order; a part and the next few in memory.

        Raises WrongData where that file is not about these rows.
        """
        selection = RowStream(self.store, self.decided, ["sample_id", "kept"])
        try:
            tables = ahead(lambda part: side_by_side(self.store, self.families, part), range(self.parts))
            for part, table in enumerate(tables):
                chosen = selection.take(table.num_rows)
                if chosen.num_rows != table.num_rows or chosen["sample_id"] != table["sample_id"]:
                    raise WrongData(
                        f"{self.decided} is not about the rows of part {part:05d}",
                        "run the build again to decide anew",
                    )
                kept = table.filter(chosen["kept"])
                if kept["member"].null_count or kept["width"].null_count:
                    raise WrongData(
                        f"{self.decided} keeps samples without an image in part {part:05d}",
                        "run the build again to decide anew",
                    )
                yield kept
        finally:
            selection.close()
