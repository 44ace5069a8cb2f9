"""A table too long for memory: written batch by batch, and sealed with the hash that the whole table would have."""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from stages.store import ROWS_AT_ONCE, SEAL_KEY, ContentHasher, Seal, Store


def write_batches(
    store: Store, name: str, schema: pa.Schema, batches: Iterable[pa.Table], seal: Callable[[str, int], Seal]
) -> Seal:
    """Commit a Parquet file of all batches. `seal` is given the content hash and the number of rows.

    The bytes do not depend on how the rows are cut into batches. Returns the seal.
    """
    hasher = ContentHasher(schema)
    rows = 0
    with store.committing(name) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in _even(schema, batches):
            hasher.write(table)
            writer.write_table(table, row_group_size=ROWS_AT_ONCE)
            rows += table.num_rows
        made = seal(hasher.finish(), rows)
        writer.add_key_value_metadata({SEAL_KEY.decode(): made.encode().decode()})
    return made


def _even(schema: pa.Schema, batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in contiguous tables of ROWS_AT_ONCE, the last one shorter; one empty table when there are none."""
    held = schema.empty_table()
    any_yet = False
    for batch in batches:
        held = pa.concat_tables([held, batch.cast(schema)])
        while held.num_rows >= ROWS_AT_ONCE:
            yield held.slice(0, ROWS_AT_ONCE).combine_chunks()
            held, any_yet = held.slice(ROWS_AT_ONCE), True
    if held.num_rows or not any_yet:
        yield held.combine_chunks()
