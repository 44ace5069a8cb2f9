"""One pass over the pool, ahead of the build: how many rows, what each part holds, which rows repeat earlier ones.

Memory does not grow with the pool: ids wait in a buffer of 2 Mi rows (64 MiB with their row numbers), and beyond that
in 64 temporary files of 24 bytes a row, which are then looked at one at a time. Repeats found take 12 bytes each.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import numpy as np

from stages.pool import ids
from stages.pool.reader import Pool
from stages.store import content_hash

_BUFFER_ROWS = 2 << 20
_BUCKETS = 64
_ROW = np.dtype([("high", ">u8"), ("low", ">u8"), ("row", "<i8")])


class Repeats(Mapping[int, int]):
    """Row inside the part → ordinal (from 1) among the repeats of its first occurrence; rows ascending."""

    def __init__(self, rows: np.ndarray, ordinals: np.ndarray) -> None:
        self._rows = rows.astype(np.int32)
        self._ordinals = ordinals.astype(np.int64)

    def __getitem__(self, row: int) -> int:
        at = int(np.searchsorted(self._rows, row))
        if at == len(self._rows) or self._rows[at] != row:
            raise KeyError(row)
        return int(self._ordinals[at])

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows.tolist())

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Repeats({dict(self)})"


@dataclass(frozen=True, slots=True)
class PartScan:
    """What a part holds."""

    content: str
    """stages.store.content_hash of its rows as read, before repeats are told apart."""
    repeats: Repeats


@dataclass(frozen=True, slots=True)
class PoolScan:
    """What the pool holds."""

    rows: int
    parts: list[PartScan]


def scan(pool: Pool) -> PoolScan:
    """Read the whole pool once. Raises WrongData when a file is gone or torn."""
    contents: list[str] = []
    rows = 0
    with _RepeatFinder() as finder:
        for table in pool.parts():
            contents.append(content_hash(table))
            finder.add(ids.as_bytes(table["sample_id"].combine_chunks()), rows)
            rows += table.num_rows
        where, ordinals = finder.finish()
    size = pool.config.part_rows
    cuts = np.searchsorted(where, np.arange(len(contents) + 1) * size)
    parts = [
        PartScan(content, Repeats(where[a:b] - part * size, ordinals[a:b]))
        for part, (content, a, b) in enumerate(zip(contents, cuts[:-1], cuts[1:], strict=True))
    ]
    return PoolScan(rows, parts)


class _RepeatFinder:
    """Which rows have an id that an earlier row has: all 128 bits compared, in memory that does not grow."""

    def __init__(self) -> None:
        self._buffer = np.empty(_BUFFER_ROWS, _ROW)
        self._held = 0
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> "_RepeatFinder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, raw: bytes, first_row: int) -> None:
        """Ids of 16 bytes each; the first of them is row `first_row` of the pool."""
        halves = np.frombuffer(raw, ">u8").reshape(-1, 2)
        for start in range(0, len(halves), _BUFFER_ROWS):
            piece = halves[start : start + _BUFFER_ROWS]
            if self._held + len(piece) > _BUFFER_ROWS:
                self._spill()
            to = self._buffer[self._held : self._held + len(piece)]
            to["high"], to["low"] = piece[:, 0], piece[:, 1]
            to["row"] = np.arange(first_row + start, first_row + start + len(piece))
            self._held += len(piece)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the pool that repeat an earlier one, ascending, and the ordinal of each among its repeats."""
        if self._files:
            self._spill()
            found = [_repeats(_load(file)) for file in self._files]
        else:
            found = [_repeats(self._buffer[: self._held])]
        rows, ordinals = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(rows)
        return rows[order], ordinals[order]

    def _spill(self) -> None:
        """Deal the buffer out by the first bits of the id."""
        if not self._files:
            made = (tempfile.TemporaryFile() for _ in range(_BUCKETS))  # noqa: SIM115  the stack closes them
            self._files = [self._stack.enter_context(file) for file in made]
        held = self._buffer[: self._held]
        bucket = (held["high"] >> np.uint64(58)).astype(np.int8)
        order = np.argsort(bucket, kind="stable")
        cuts = np.searchsorted(bucket[order], np.arange(_BUCKETS + 1))
        for file, a, b in zip(self._files, cuts[:-1], cuts[1:], strict=True):
            file.write(held[order[a:b]].tobytes())
        self._held = 0


def _load(file: IO[bytes]) -> np.ndarray:
    file.seek(0)
    return np.frombuffer(file.read(), _ROW)


def _repeats(ids_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows in the pool's order: those whose id came before, and which repeat of it they are, from 1."""
    high, low = ids_["high"].astype(np.uint64), ids_["low"].astype(np.uint64)
    order = np.lexsort((low, high))  # stable: equal ids stay in the pool's order
    same = np.zeros(len(order), bool)
    same[1:] = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    at = np.arange(len(order))
    first = np.maximum.accumulate(np.where(same, 0, at))
    ordinal = at - first
    return ids_["row"][order[same]], ordinal[same]
