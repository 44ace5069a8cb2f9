"""Open shards: memory-mapped, checked once, opened ahead of need, a bounded number at a time."""

import hashlib
import mmap
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import WrongData
from schemas.stream import RemoteConfig, StreamConfig
from stages.stream.marks import Mark
from stages.stream.members import ShardIndex
from stages.stream.source import Source

if TYPE_CHECKING:
    from stages.store import Store
    from stages.stream.fetch import Fetcher

_SPARE = 2
"""Shards kept open beyond those that are needed soon: what a batch begun before the edge of a window still reads."""


class ShardFile:
    """A shard's descriptor, kept beside its map for who passes it on; closed with this object at the latest."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd, self.size = os.dup(fd), size
        self.number: int | None = None
        """By which the other side knows it, once it was passed on."""
        self.close = weakref.finalize(self, os.close, self.fd)


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard's bytes, mapped, and where the streamed samples' members lie in them.

    Plain tuples: reading three members of a sample here and there in numpy arrays costs several times as much.
    """

    data: memoryview
    sample_ids: list[str]
    bounds: list[tuple[int, ...]]
    """Of each sample: start and stop of its first member, of its second …; a stop of −1: it has none."""
    file: ShardFile | None


def _bounds(
    index: ShardIndex, members: Sequence[str], rows: "np.ndarray | slice", samples: int
) -> list[tuple[int, ...]]:
    """Of each of the chosen rows, as `OpenShard` has them."""
    columns: list[list[int]] = []
    for member in members:
        places = index.places(member)
        offsets, sizes = places.offsets[rows], places.sizes[rows]
        columns += [offsets.tolist(), np.where(sizes < 0, -1, offsets + sizes).tolist()]
    return list(zip(*columns, strict=True)) if columns else [()] * samples


class OpenShards:
    """The shards that a reader needs now and soon. Not thread-safe: one reader's own.

    Bytes are read where they lie: members are slices of the map, which lives as long as any slice of it.
    """

    def __init__(self, sources: Sequence[Source], config: StreamConfig, keep_files: bool = False) -> None:
        """`keep_files`: shards have their `file`."""
        remote = config.remote
        self._keep_files = keep_files
        self._sources, self._check, self._members = sources, config.check, config.members
        self._fetchers = [None if s.tars.local else _fetcher(s.tars, s, remote, self._check) for s in sources]
        self._index_fetchers = [None if s.indexes.local else _fetcher(s.indexes, s, remote, True) for s in sources]
        self._pool = ThreadPoolExecutor(max(1, remote.ahead), thread_name_prefix="shards")
        self._open: dict[tuple[int, int], Future[OpenShard]] = {}
        self._ahead = remote.ahead

    def __getitem__(self, key: tuple[int, int]) -> OpenShard:
        """(source, shard). Waits for a shard that is under way. Raises WrongData naming a shard that is not right."""
        if key not in self._open:
            self._begin(key)
        return self._open[key].result()

    def expect(self, needed: list[tuple[int, int]]) -> None:
        """What will be asked for, most urgent first: begins to open the first of them, closes the rest."""
        waiting = sum(not f.done() for f in self._open.values())
        for key in needed:
            if waiting >= self._ahead:
                break
            if key not in self._open:
                self._begin(key)
                waiting += 1
        wanted = set(needed)
        others = [key for key in self._open if key not in wanted]
        for key in others[: max(0, len(others) - _SPARE)]:
            self._open.pop(key).cancel()

    def close(self) -> None:
        for opened in self._open.values():
            opened.cancel()  # cancel_futures=True fails at interpreter exit, where a forgotten reader is closed
        self._open.clear()
        self._pool.shutdown(wait=False)

    def _begin(self, key: tuple[int, int]) -> None:
        self._open[key] = self._pool.submit(self._opened, key)

    def _opened(self, key: tuple[int, int]) -> OpenShard:
        source = self._sources[key[0]]
        facts = source.facts[key[1]]
        of_index = self._index_fetchers[key[0]]
        index = source.index(key[1], None if of_index is None else of_index.read)
        fetcher, mark = self._fetchers[key[0]], source.checked[key[1]]
        name = f"source {source.label!r}: {facts.path}"
        fd = _descriptor(source.tars.path(facts.path), name) if fetcher is None else fetcher.fetch(facts, mark)
        try:
            size = os.fstat(fd).st_size
            index.require_inside(name, size)
            if size != facts.bytes:
                raise WrongData(f"{name} has {size} bytes, its manifest says {facts.bytes}", _REMEDY)
            data = memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ))
            file = ShardFile(fd, size) if self._keep_files else None
        finally:
            os.close(fd)
        if self._check and fetcher is None:
            _compare(data, facts.sha256, mark, name)
        ids, rows = index.sample_ids, slice(None)
        if source.rows is not None:
            rows = source.rows[key[1]]
            ids = [ids[row] for row in rows]
        return OpenShard(data, ids, _bounds(index, self._members, rows, len(ids)), file)


def _compare(data: memoryview, wanted: str, mark: Mark, name: str) -> None:
    """A shard with its sha256, unless that was done; one worker does it, the others wait for it."""
    if mark:
        return
    with mark.one_at_a_time():
        if mark:
            return
        found = hashlib.sha256(data).hexdigest()  # releases the GIL
        if found != wanted:
            raise WrongData(f"{name} has sha256 {found[:12]}…, its manifest says {wanted[:12]}…", _REMEDY)
        mark.set()


def _fetcher(store: "Store", source: Source, config: RemoteConfig, check: bool) -> "Fetcher":
    from stages.stream.fetch import Fetcher

    return Fetcher(store, config, check, source.models)


_REMEDY = "`pairmill verify` says which samples are hit; build that shard again, or fetch it anew"


def _descriptor(path: str, name: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise WrongData(f"{name} is missing", "run `pairmill build` again to make it anew, or bring it back") from error
