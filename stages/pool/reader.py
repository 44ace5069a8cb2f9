"""The pool as a stream of parts: fixed runs of rows across all its files.

What enters: files in Parquet, CSV, TSV or JSON Lines, and the recipe's mapping of their columns. What leaves: tables of
the family `pool`, `part_rows` rows each but the last. A row that cannot be read stays, at its place, with the reason
`malformed_row`; texts are kept as they are, white space and control characters included. What can go wrong: a request
that does not fit the files (WrongRequest, from `open_pool`, before any row is read) and a file that is gone or torn
(WrongData, while reading).

Memory: a chunk of at most 8,192 rows and a part; no file is ever held whole.
"""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from schemas.recipe import PoolConfig
from stages.pool import columns, delimited, jsonl, parquet
from stages.pool.candidates import candidates, with_repeats
from stages.pool.chunk import Chunk
from stages.pool.files import PoolFile, find_files

_READERS = {"parquet": parquet.read, "csv": delimited.read, "tsv": delimited.read, "jsonl": jsonl.read}


def open_pool(config: PoolConfig, base: str) -> "Pool":
    """The pool that a recipe names; relative paths start at `base`, the recipe's folder.

    Reads headers and footers only. Raises WrongRequest when a path, a format or a column does not fit, WrongData when
    a file cannot be read.
    """
    files = find_files(config.paths, base, config.format)
    columns.check(files, config.columns, config.extra)
    return Pool(files, config)


class Pool:
    """An opened pool. Every pass reads the files anew."""

    def __init__(self, files: list[PoolFile], config: PoolConfig) -> None:
        self.files = files
        self.config = config

    @property
    def source_names(self) -> list[str]:
        """What `source` says of each file, in order."""
        return [file.name for file in self.files]

    def parts(self, repeats: Sequence[Mapping[int, int]] | None = None) -> Iterator[pa.Table]:
        """The parts in order. `repeats` says per part which rows (row → ordinal from 1) repeat an earlier one.

        Tables have the columns of the family `pool`. Without `repeats`, a repeated row has the sample_id of the first.
        """
        for part, table in enumerate(self._runs()):
            yield table if repeats is None else with_repeats(table, repeats[part])

    def _runs(self) -> Iterator[pa.Table]:
        size = self.config.part_rows
        held: list[pa.Table] = []
        count = 0
        for table in self._tables():
            held.append(table)
            count += table.num_rows
            if count < size:
                continue
            whole = pa.concat_tables(held)
            for start in range(0, count - count % size, size):
                yield whole.slice(start, size).combine_chunks()
            rest = whole.slice(count - count % size)
            held, count = [rest], rest.num_rows
        if count:
            yield pa.concat_tables(held).combine_chunks()

    def _tables(self) -> Iterator[pa.Table]:
        for file in self.files:
            row = 0
            for chunk in self._chunks(file):
                yield candidates(chunk, file.name, row)
                row += chunk.rows

    def _chunks(self, file: PoolFile) -> Iterator[Chunk]:
        return _READERS[file.format](file, self.config.columns, self.config.extra)
