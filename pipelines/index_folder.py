"""`pairmill index`: a folder of tars that others wrote becomes a source of the stream; every tar is read once.

In: a folder or fsspec URL with WebDataset tars (`*.tar`, in folders of it, too). Out, in INDEX (`.pairmill` in the
folder, or a folder of its own): `<path of the tar>.parquet` for each, rows of `ShardMembers`, then `manifest.json`
(`FolderIndex`). Names that begin with a dot are left out; links to files are read, links to folders are not entered.

**What is stale.** The seal of an index keeps the tar's size and what its store says of its state: the ETag on an object
store, the time of the last change on a disk. Where both are as they were, the tar is not read again; where a store says
nothing, the size alone decides. `check` reads every tar again and compares its sha256 with the seal's. Indexes
themselves are compared with the manifest each time; one that is damaged is made anew.

**Kills.** The first change takes the manifest away, files come whole, the manifest comes last: a killed run leaves a
folder that says that it is not indexed, and the next one goes on where it was. A tar that cannot be indexed does not
keep the others from it; the error comes after them, and there is no manifest.

Raises WrongRequest where there is nothing to index or INDEX is somebody else's, WrongData where tars are damaged, are
no WebDataset, or hold one sample_id twice.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.index_files import STAGE, Indexed, file_entry, held, old_manifest, require_apart, survey, where_of
from pipelines.index_listing import FoundTar, find_tars
from pipelines.progress import Silent, Watcher
from schemas.errors import WrongData
from schemas.manifest import FolderIndex, IndexedShard
from stages.ahead import ahead
from stages.pool.ids import as_bytes
from stages.store import Store, digest, sealed
from stages.stream.foreign import Scanned, scan
from stages.stream.headers import BLOCK
from stages.stream.source import BUILD_MANIFEST, FOLDER

_THREADS = 4
"""Tars read at once: hashing and waiting overlap, headers are parsed one at a time (the GIL). 8 MiB of memory each."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How a folder is indexed."""

    out: str | None = None
    """INDEX; None: `.pairmill` in the folder."""
    check: bool = False
    """Read every tar again, also those that seem unchanged."""
    watcher: Watcher = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an indexed folder holds."""

    index: str
    shards: int
    samples: int
    bytes: int
    endings: dict[str, int]
    """Ending → samples that have such a member, most first."""
    without_image: int
    ignored: int
    """Files in the tars that belong to no sample."""
    read: int
    """Tars that this run has read."""
    removed: int
    """Indexes of tars that are gone."""


def index_folder(folder: str, options: IndexOptions | None = None) -> IndexReport:
    """Index what is new or changed; see above."""
    options = options or IndexOptions()
    tars = Store(folder)
    found = find_tars(tars)
    index = Store(options.out) if options.out is not None else Store(f"{tars.url}/{FOLDER}")
    where = where_of(tars, index)
    require_apart(tars, index)
    with held(index):
        old = old_manifest(index, where)
        fresh, gone = survey(index, found, old)
        todo = [tar for tar in found if tar.path not in fresh]
        if todo or gone:
            index.require_writable()
            index.remove(BUILD_MANIFEST)
            index.sweep()
            for name in gone:
                index.remove(name)
        again = list(fresh.values()) if options.check else []
        fresh |= _read(tars, index, todo, again, options.watcher)
        entries = [fresh[tar.path] for tar in found]
        _finish(index, old, _manifest(where, entries))
    return _report(index, entries, len(todo) + len(again), len(gone))


# --------------------------------------------------------------------------------- tars


def _read(
    tars: Store, index: Store, todo: list[FoundTar], again: list[Indexed], watcher: Watcher
) -> dict[str, Indexed]:
    """Index `todo`, compare `again`. Raises WrongData after the last of them where one cannot be indexed."""
    watcher.start(STAGE, len(todo) + len(again))

    def one(work: FoundTar | Indexed) -> Indexed | WrongData:
        tar = work if isinstance(work, FoundTar) else work.tar
        try:
            scanned = _scanned(tars, tar)
            if isinstance(work, Indexed):
                return _compared(work, scanned)
        except WrongData as error:
            return error
        return _committed(index, tar, scanned)

    done: dict[str, Indexed] = {}
    failed: list[WrongData] = []
    for result in ahead(one, [*todo, *again], _THREADS):
        if isinstance(result, WrongData):
            failed.append(result)
            continue
        done[result.tar.path] = result
        watcher.advance(STAGE, result.seal.rows, result.seal.rows)
    watcher.finish(STAGE, f"{sum(e.seal.rows for e in done.values()):,} samples in {len(done):,} tars")
    if failed:
        more = f" (and {len(failed) - 1:,} more of {len(todo) + len(again):,} tars)" if len(failed) > 1 else ""
        raise WrongData(failed[0].what + more, failed[0].remedy)
    return done


def _scanned(tars: Store, tar: FoundTar) -> Scanned:
    try:
        # Blocks are read one after another and never again: a cache would only copy them.
        with tars.fs.open(tars.path(tar.path), "rb", block_size=BLOCK, cache_type="none") as file:
            scanned = scan(file, tar.path)
    except OSError as error:
        raise WrongData(f"{tar.path} cannot be read: {error}", "restore it, or take it out of the folder") from error
    if scanned.bytes != tar.bytes:
        raise WrongData(f"{tar.path} had {tar.bytes} bytes when listed and {scanned.bytes} when read", _WAIT)
    return scanned


_WAIT = "wait until nobody writes it, then run the same command again"


def _compared(work: Indexed, scanned: Scanned) -> Indexed:
    before = work.seal.extra["sha256"]
    if scanned.sha256 != before:
        raise WrongData(
            f"{work.tar.path} has sha256 {scanned.sha256[:12]}… and had {before[:12]}… when it was indexed, "
            "though its size and state are the same: it is damaged",
            f"fetch it anew; or delete {work.tar.index} from the index to take it as it is",
        )
    return work


def _committed(index: Store, tar: FoundTar, scanned: Scanned) -> Indexed:
    extra = {
        "shard": tar.path,
        "bytes": tar.bytes,
        "state": tar.state,
        "sha256": scanned.sha256,
        "endings": scanned.endings,
        "without_image": scanned.without_image,
        "ignored": scanned.ignored,
    }
    seal = sealed(scanned.table, tar.fingerprint, STAGE, **extra)
    index.write_table(tar.index, scanned.table, seal)
    return Indexed(tar, seal, file_entry(tar.index, index.read_bytes(tar.index)))


# ------------------------------------------------------------------------------ the whole


def _manifest(where: str, entries: list[Indexed]) -> FolderIndex:
    shards = [
        IndexedShard(
            path=e.tar.path,
            bytes=e.tar.bytes,
            sha256=e.seal.extra["sha256"],
            samples=e.seal.rows,
            index=e.file.path,
            index_bytes=e.file.bytes,
            index_sha256=e.file.sha256,
        )
        for e in entries
    ]
    fingerprint = digest([[s.path, s.bytes, s.sha256] for s in shards])
    return FolderIndex(folder=where, fingerprint=fingerprint, samples=sum(s.samples for s in shards), shards=shards)


def _finish(index: Store, old: FolderIndex | None, manifest: FolderIndex) -> None:
    """Commit the manifest, if it says something new. Raises WrongData where a sample_id is there twice."""
    if old == manifest and index.exists(BUILD_MANIFEST):
        return
    index.require_writable()
    require_unique(index, manifest)
    index.write_bytes(BUILD_MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())


def require_unique(index: Store, manifest: FolderIndex) -> None:
    """Raises WrongData naming both places of a sample_id that is there twice. 16 bytes of memory per sample."""
    names = [s.index for s in manifest.shards]
    parts = [_prefixes(table) for table in ahead(lambda n: index.read_table(n, ["sample_id"]), names)]
    prefixes = np.sort(np.concatenate(parts))
    suspects = np.unique(prefixes[1:][prefixes[1:] == prefixes[:-1]])
    if not len(suspects):
        return
    seen: dict[str, str] = {}
    for shard in manifest.shards:
        table = index.read_table(shard.index, ["sample_id", "key"])
        for row in table.filter(pa.array(np.isin(_prefixes(table), suspects))).to_pylist():
            place = f"{shard.path} ({row['key']})"
            if (first := seen.setdefault(row["sample_id"], place)) is not place:
                raise WrongData(
                    f"sample_id {row['sample_id']} is there twice: {first} and {place}",
                    "take one of the two tars out of the folder; a sample has one place",
                )


def _prefixes(table: pa.Table) -> np.ndarray:
    """The first 8 of the 16 bytes of each sample_id, as uint64: equal ids have equal ones."""
    return np.frombuffer(as_bytes(table["sample_id"]), np.uint64)[::2]


def _report(index: Store, entries: list[Indexed], read: int, removed: int) -> IndexReport:
    endings: Counter[str] = Counter()
    for entry in entries:
        endings.update(entry.seal.extra["endings"])
    return IndexReport(
        index=index.url,
        shards=len(entries),
        samples=sum(e.seal.rows for e in entries),
        bytes=sum(e.tar.bytes for e in entries),
        endings=dict(sorted(endings.items(), key=lambda item: (-item[1], item[0]))),
        without_image=sum(e.seal.extra["without_image"] for e in entries),
        ignored=sum(e.seal.extra["ignored"] for e in entries),
        read=read,
        removed=removed,
    )
