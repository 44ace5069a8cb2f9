"""Where the pictures of a build's samples lie, and their bytes.

A sample's own picture is where its JSON is. Those of the other samples in a dialogue over several pictures are looked
up in a table over the whole build, 25 bytes per sample, made when the first of them is asked for.
"""

import base64
import hashlib
import re
from functools import lru_cache
from typing import Any

import numpy as np

from pipelines.exports.folder import Out
from pipelines.exports.read import VERIFY, Sample, entries
from schemas.errors import WrongData
from stages.ahead import ahead
from stages.pool.ids import as_bytes
from stages.store import Store

FOLDER = "images"
_HEX = re.compile(r"[0-9a-f]{32}")
_MIME = {"jpg": "jpeg", "tif": "tiff", "svg": "svg+xml"}
_INDEXES = 4
"""Shards' indexes held while pictures of other shards are put into records."""


class Pictures:
    """Pictures by sample_id."""

    def __init__(self, store: Store, shards: list[str]) -> None:
        self._store, self._shards = store, shards
        self._number = {_stem(tar): i for i, tar in enumerate(shards)}
        self._table: _Table | None = None
        self._current: Sample | None = None
        self._used: dict[int, set[int]] = {}
        self._entries = lru_cache(_INDEXES)(lambda shard: entries(store, shards[shard]))

    def seen(self, sample: Sample) -> None:
        """The sample whose conversations come next."""
        self._current = sample

    def path(self, sample_id: str) -> str | None:
        """`images/SHARD/KEY.EXT`: the member KEY.EXT of SHARD.tar. None where no shard has the sample."""
        place = self._place(sample_id)
        if place is None:
            return None
        row = self._entry(place)
        return f"{FOLDER}/{_stem(self._shards[place[0]])}/{row['key']}.{row['image_ext']}"

    def use(self, sample_ids: list[str]) -> None:
        """Note pictures that a record refers to, to be copied."""
        for sample_id in sample_ids:
            place = self._place(sample_id)
            if place is not None:
                self._used.setdefault(place[0], set()).add(place[1])

    def data_url(self, sample_id: str) -> str:
        """RFC 2397, base64."""
        place = self._place(sample_id)
        assert place is not None, "asked for after path()"
        row = self._entry(place)
        with self._store.open(self._shards[place[0]]) as file:
            data = _image(file, row, self._shards[place[0]])
        kind = _MIME.get(row["image_ext"], row["image_ext"])
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

    def copy(self, folder: Out, tar: str) -> int:
        """Copy the noted pictures of one shard as they are stored; how many are new.

        Raises WrongData where one is not what its index says.
        """
        noted, copied = self._used.pop(self._number[_stem(tar)], set[int]()), 0
        if not noted:
            return 0
        rows = entries(self._store, tar)
        with self._store.open(tar) as file:
            for row in (rows[position] for position in sorted(noted)):
                name = f"{FOLDER}/{_stem(tar)}/{row['key']}.{row['image_ext']}"
                if not folder.has(name):
                    folder.put(name, _image(file, row, tar))
                    copied += 1
        return copied

    def noted(self) -> list[str]:
        """Shards with pictures that are still to be copied."""
        return [self._shards[shard] for shard in sorted(self._used)]

    def _place(self, sample_id: str) -> tuple[int, int] | None:
        """Shard and position."""
        if self._current is not None and self._current.sample_id == sample_id:
            return self._number[self._current.shard], self._current.entry["position"]
        if self._table is None:
            self._table = _Table(self._store, self._shards)
        return self._table.find(sample_id)

    def _entry(self, place: tuple[int, int]) -> dict[str, Any]:
        current = self._current
        if current is not None and (self._number[current.shard], current.entry["position"]) == place:
            return current.entry
        return self._entries(place[0])[place[1]]


class _Table:
    """sample_id → shard, position. Two halves of each id as uint64, sorted by the first."""

    def __init__(self, store: Store, shards: list[str]) -> None:
        names = [tar.removesuffix(".tar") + ".parquet" for tar in shards]
        parts = [
            np.frombuffer(as_bytes(table["sample_id"]), ">u8").astype(np.uint64).reshape(-1, 2)
            for table in ahead(lambda name: store.read_table(name, ["sample_id"]), names)
        ]
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        halves = np.concatenate(parts)
        self._order = np.argsort(halves[:, 0], kind="stable")
        self._first, self._second = halves[self._order, 0], halves[self._order, 1]

    def find(self, sample_id: str) -> tuple[int, int] | None:
        if not _HEX.fullmatch(sample_id):
            return None
        first, second = np.uint64(int(sample_id[:16], 16)), np.uint64(int(sample_id[16:], 16))
        at = int(np.searchsorted(self._first, first))
        while at < len(self._first) and self._first[at] == first:
            if self._second[at] == second:
                row = int(self._order[at])
                shard = int(np.searchsorted(self._starts, row, side="right")) - 1
                return shard, row - int(self._starts[shard])
            at += 1
        return None


def _image(file: Any, row: dict[str, Any], tar: str) -> bytes:
    file.seek(row["image_offset"])
    data = file.read(row["image_size"])
    if hashlib.sha256(data).hexdigest() != row["image_sha256"]:
        raise WrongData(f"sample {row['sample_id']}: its picture in {tar} is not the one of its index", VERIFY)
    return data


def _stem(tar: str) -> str:
    return tar.rsplit("/", 1)[-1].removesuffix(".tar")
