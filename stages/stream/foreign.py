"""What a tar that others wrote holds: rows of `ShardMembers`, the tar's size and its sha256, from one pass over it.

Members are grouped as `webdataset` groups them: the key is the path up to the first dot after its last slash, the
ending what follows that dot, in lower case; consecutive members of one key are a sample. Links, folders and devices
are passed over. So are files that `webdataset` passes over: its own metadata (`__name__`), and names without a dot
after the key; those are counted. Where `webdataset` would go on with samples that are not what was meant, this is
WrongData: a key that returns after another one, an ending that a sample has twice, a name that is not UTF-8.

**sample_id.** The `sample_id` in the sample's `.json` (of at most 4 MiB) where that is one of ours, 32 hex digits: a
sample keeps its name for life. Else `stages.pool.ids.of_member`: of the tar's path in its folder and the key. Ids of
others (`key`, `uid`, `sha256` of img2dataset) name a row, a URL or a file, not one sample, and are not taken.

Memory: one block of the tar, and about 0.25 KB per sample of it (three members, short names).
"""

import json
import re
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from schemas.errors import WrongData
from schemas.ledger import ShardMembers
from schemas.row import cast
from stages.pool.ids import of_member
from stages.stream.headers import ForwardReader, members
from stages.stream.members import IMAGE_ENDINGS

_JSON = 4 << 20
_OWN = re.compile(r"[0-9a-f]{32}").fullmatch
# As in webdataset.tariterators; a test compares the two.
_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$").match
_METADATA = re.compile(r"__[^/]*__($|/)").match
_REPACK = "rename the member and repack the tar, or take it out of the folder"


@dataclass(frozen=True, slots=True)
class Scanned:
    """A tar as it was found."""

    table: pa.Table
    """Rows of `ShardMembers`, in the tar's order."""
    bytes: int
    sha256: str
    endings: dict[str, int]
    """Ending → samples that have such a member, in order of the endings."""
    without_image: int
    """Samples of which no member has the ending of a picture."""
    ignored: int
    """Files that are no member of any sample."""


def split_name(name: str) -> tuple[str, str] | None:
    """Key and ending of a member's name; None where `webdataset` passes it over."""
    if _METADATA(name):
        return None
    found = _NAME(name)
    return None if found is None else (found[1], found[2].lower())


def scan(file: BinaryIO, shard: str) -> Scanned:
    """Read a tar from its first byte to its last. `shard` is its path in the folder: part of ids, named in errors.

    Raises WrongData where the tar is damaged, compressed or sparse, and where its members make no samples.
    """
    reader = ForwardReader(file, shard)
    samples = _Samples(shard)
    ignored = 0
    for info in members(reader):
        if not info.isreg():
            continue
        named = split_name(info.name)
        if named is None:
            ignored += 1
            continue
        samples.add(*named, info.offset_data, info.size)
        if named[1] == "json" and info.size <= _JSON:
            samples.name(_own_id(reader.take(info.size)))
    size, sha256 = reader.finish()
    table = samples.table()
    endings = dict(sorted(samples.endings.items()))
    return Scanned(table, size, sha256, endings, samples.without_image(), ignored)


def _own_id(document: bytes) -> str | None:
    """The sample_id that a document names, if it is one of ours."""
    if b'"sample_id"' not in document:  # spares the parser where the file is not ours
        return None
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        return None
    own = found.get("sample_id") if isinstance(found, dict) else None
    return own if isinstance(own, str) and _OWN(own) else None


class _Samples:
    """The samples of a tar while it is read, by columns: numbers in arrays, each ending one string."""

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._keys: dict[str, None] = {}
        self._ids: list[str] = []
        self._current: set[str] = set()  # endings of the newest sample
        self._endings: dict[str, int] = {}
        self._first, self._ext = array("i"), array("i")
        self._offset, self._size = array("q"), array("q")
        self._key = ""  # no sample has this one
        self.endings: Counter[str] = Counter()

    def add(self, key: str, ending: str, offset: int, size: int) -> None:
        """A member, in the tar's order. Raises WrongData where it cannot belong to a sample."""
        if key != self._key:
            self._begin(key)
        if ending in self._current:
            raise WrongData(f"{self._shard}: sample {key!r} has two members {ending!r}", _REPACK)
        self._current.add(ending)
        self._ext.append(self._endings.setdefault(ending, len(self._endings)))
        self._offset.append(offset)
        self._size.append(size)
        self.endings[ending] += 1

    def name(self, own: str | None) -> None:
        """The id that the newest sample says it has."""
        if own is not None:
            self._ids[-1] = own

    def table(self) -> pa.Table:
        """Rows of `ShardMembers`. Raises WrongData where an ending is not text."""
        for ending in self._endings:
            self._require_text(ending)
        schema = ShardMembers.arrow_schema()
        kind: Any = schema.field("members").type
        endings = pa.array(list(self._endings), pa.string())
        columns: list[Any] = [
            endings.take(pa.array(self._ext, pa.int32())),
            pa.array(self._offset, pa.int64()),
            pa.array(self._size, pa.int64()),
        ]
        structs = pa.StructArray.from_arrays(columns, fields=list(kind.value_type))
        lists = pa.ListArray.from_arrays(pa.array([*self._first, len(self._ext)], pa.int32()), structs, type=kind)
        ids, keys = pa.array(self._ids, pa.string()), pa.array(list(self._keys), pa.string())
        return cast(pa.table([ids, keys, lists], names=schema.names), schema, self._shard)

    def without_image(self) -> int:
        pictures = [code for ending, code in self._endings.items() if ending.rsplit(".", 1)[-1] in IMAGE_ENDINGS]
        at = np.flatnonzero(np.isin(np.asarray(self._ext, np.int32), pictures))
        first = np.asarray(self._first, np.int32)
        return len(first) - len(np.unique(np.searchsorted(first, at, side="right")))

    def _begin(self, key: str) -> None:
        if key in self._keys:
            raise WrongData(
                f"{self._shard}: key {key!r} returns after others; members of a sample must follow one another",
                "repack the tar with its members sorted by name (`tar --sort=name`)",
            )
        self._require_text(key)
        self._keys[key] = None
        self._key, self._current = key, set()
        self._first.append(len(self._ext))
        self._ids.append(of_member(self._shard, key))

    def _require_text(self, name: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise WrongData(f"{self._shard}: a member is called {name!r}, which is not UTF-8", _REPACK) from error
