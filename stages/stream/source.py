"""A dataset as the stream sees it: a list of shards with their hashes, and, one shard at a time, what is in them."""

import hashlib
import importlib
import json
import posixpath
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.errors import WrongData, WrongRequest
from schemas.manifest import FileEntry, FolderIndex, Manifest
from schemas.stream import SourceConfig
from stages.shard.run import INDEX
from stages.store import Store, digest
from stages.stream.marks import Marks
from stages.stream.members import ShardIndex

BUILD_MANIFEST = "manifest.json"

FOLDER = ".pairmill"
"""Where `pairmill index` puts the index of a folder, unless told otherwise."""


class ShardFacts(FileEntry):
    """A shard's tar as its manifest promises it, how many samples it has, and the file with their members' places."""

    samples: int
    index: FileEntry
    """In the store of indexes."""


class Source:
    """An opened dataset. Picklable: a worker process takes the lists along and opens files of its own."""

    def __init__(self, config: SourceConfig, tars: Store, indexes: Store, facts: list[ShardFacts]) -> None:
        self.label = config.label
        self.tars, self.indexes = tars, indexes
        self.facts = facts
        self.rows: list[np.ndarray] | None = None
        """Where a condition chooses: of each shard, the rows that are streamed."""
        self.checked = Marks(len(facts))
        """Shards whose sha256 was compared and is right."""
        self._of_build = indexes is tars
        self.models: Any = None
        """What this process' clients know of the store's service, for those of processes forked from it."""
        if not indexes.local:
            importlib.import_module("stages.stream.fetch")  # before a fork, not in every worker
            from stages.stream.objects import models_of

            self.models = models_of(indexes.fs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "models": None}

    @property
    def counts(self) -> np.ndarray:
        """Streamed samples of each shard, int64."""
        if self.rows is not None:
            return np.asarray([len(rows) for rows in self.rows], np.int64)
        return np.asarray([f.samples for f in self.facts], np.int64)

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides which sample has which place in the order."""
        chosen = None if self.rows is None else [hashlib.sha256(rows.tobytes()).hexdigest() for rows in self.rows]
        return digest({"shards": self.hashes(), "chosen": chosen})

    def hashes(self) -> dict[str, str]:
        """Name → sha256 of each shard."""
        return {f.path: f.sha256 for f in self.facts}

    def index(self, shard: int, read: Callable[[FileEntry], bytes] | None = None) -> ShardIndex:
        """The places of one shard's members. Raises WrongData where its index is not the one of the manifest.

        `read`: how a file of `indexes` is brought; by default in one call of its file system.
        """
        facts = self.facts[shard]
        data = self.indexes.read_bytes(facts.index.path) if read is None else read(facts.index)
        if hashlib.sha256(data).hexdigest() != facts.index.sha256:
            raise _wrong_index(self, facts, "is not the file that the manifest names")
        # read_table would import pyarrow.dataset: over a second; threads cost more than they save for a file so small
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        found = ShardIndex.of_build(table) if self._of_build else ShardIndex.of_folder(table)
        if len(found) != facts.samples:
            raise _wrong_index(self, facts, f"lists {len(found)} samples, the manifest {facts.samples}")
        return found


def open_source(config: SourceConfig) -> Source:
    """Open a build or an indexed folder. Raises WrongRequest where there is neither."""
    store = Store(config.path)
    if store.exists(f"{FOLDER}/{BUILD_MANIFEST}"):
        source = _open_folder(config, Store(f"{store.url}/{FOLDER}"))
    elif store.exists(BUILD_MANIFEST):
        raw = _json(store, BUILD_MANIFEST)
        source = _open_folder(config, store) if "folder" in raw else _open_build(config, store, raw)
    else:
        raise WrongRequest(
            f"{config.path} is neither a finished build nor an indexed folder",
            "finish it with `pairmill build`, or index its tars with `pairmill index FOLDER`",
        )
    return source


def _open_build(config: SourceConfig, store: Store, raw: dict[str, Any]) -> Source:
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise _unreadable(store, "a manifest", error, _AGAIN) from error
    entries = {e.path: e for e in [*manifest.shards, *manifest.files]}
    with store.open(INDEX) as f:
        table = pq.ParquetFile(f, read_dictionary=["shard", "split"]).read(columns=["shard", "split"])
    shards = _shards(table)
    facts = []
    for name, split, samples in shards:
        stem = f"shards/{name.removesuffix('.tar')}"
        tar, index = entries.get(f"{stem}.tar"), entries.get(f"{stem}.parquet")
        if tar is None or index is None:
            raise WrongData(f"{store.url}: {INDEX} names {name}, the manifest does not", _AGAIN)
        if config.split in (None, split):
            facts.append(ShardFacts(path=tar.path, bytes=tar.bytes, sha256=tar.sha256, samples=samples, index=index))
    if not facts and config.split is not None:
        known = ", ".join(sorted({split for _, split, _ in shards})) or "none"
        raise WrongRequest(f"{config.path} has no split {config.split!r}", f"it has: {known}")
    source = Source(config, store, store, facts)
    if config.where is not None:
        source.rows = _chosen(store, config.where, [posixpath.basename(f.path) for f in facts])
    return source


def _open_folder(config: SourceConfig, indexes: Store) -> Source:
    try:
        found = FolderIndex.model_validate(_json(indexes, BUILD_MANIFEST))
    except ValidationError as error:
        raise _unreadable(indexes, "an index", error, _REINDEX) from error
    for setting in ("split", "where"):
        if getattr(config, setting) is not None:
            raise WrongRequest(f"{config.path} is an indexed folder and has no {setting}", f"leave {setting} out")
    tars = Store(posixpath.dirname(indexes.url) if found.folder == ".." else found.folder)
    facts = [
        ShardFacts(
            path=s.path,
            bytes=s.bytes,
            sha256=s.sha256,
            samples=s.samples,
            index=FileEntry(path=s.index, bytes=s.index_bytes, sha256=s.index_sha256),
        )
        for s in found.shards
    ]
    return Source(config, tars, indexes, facts)


_AGAIN = "run `pairmill build` again"
_REINDEX = "run `pairmill index` again"


def _unreadable(store: Store, what: str, error: ValidationError, remedy: str) -> WrongData:
    return WrongData(f"{store.url}/{BUILD_MANIFEST} is not {what}: {error.errors()[0]['msg']}", remedy)


def _wrong_index(source: Source, facts: ShardFacts, what: str) -> WrongData:
    return WrongData(
        f"source {source.label!r}: {facts.index.path}, the index of {facts.path}, {what}",
        "run `pairmill verify` on the build, or `pairmill index` on the folder again",
    )


def _json(store: Store, name: str) -> dict[str, Any]:
    try:
        found = json.loads(store.read_bytes(name))
    except ValueError as error:
        raise WrongData(f"{store.url}/{name} is not JSON", _AGAIN) from error
    return found if isinstance(found, dict) else {}


def _shards(table: pa.Table) -> list[tuple[str, str, int]]:
    """(name, split, samples) of each shard, in order of first appearance."""
    counted = table.group_by(["shard", "split"], use_threads=False).aggregate([([], "count_all")])
    return list(zip(*(counted[name].to_pylist() for name in ("shard", "split", "count_all")), strict=True))


def _chosen(store: Store, where: str, names: list[str]) -> list[np.ndarray]:
    """Rows of each named shard that fulfil an SQL condition over the index's columns, in stored order."""
    from stages.views import open_readonly, query

    con = open_readonly(store)
    try:
        table = query(con, f"SELECT shard, position FROM shards WHERE ({where}) ORDER BY shard, position")
    finally:
        con.close()
    shard = np.asarray(table["shard"].to_pylist(), object)
    position = np.asarray(table["position"], np.int64)
    return [position[shard == name] for name in names]
