"""INDEX, the folder that `pairmill index` writes: whose it is, and which indexes in it are as they should be."""

import fcntl
import hashlib
import io
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.index_listing import FoundTar, is_hidden
from schemas.errors import WrongRequest
from schemas.manifest import FileEntry, FolderIndex
from stages.ahead import ahead
from stages.store import Seal, Store, content_hash
from stages.stream.source import BUILD_MANIFEST, FOLDER

STAGE = "index"
"""What the seals of its files say."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index that lies in INDEX."""

    tar: FoundTar
    seal: Seal
    file: FileEntry


def file_entry(path: str, data: bytes) -> FileEntry:
    """As a manifest has it."""
    return FileEntry(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def where_of(tars: Store, index: Store) -> str:
    """What the manifest says of where the tars are: it stays true when a folder moves with its index in it."""
    if index.root == f"{tars.root}/{FOLDER}":
        return ".."
    return tars.root if tars.local else tars.url


def require_apart(tars: Store, index: Store) -> None:
    """Raises WrongRequest where an index would lie among files that it could replace, or that a build accounts for."""
    folder, target = (os.path.realpath(s.root) if s.local else s.url for s in (tars, index))
    if _within(folder, target):  # a tar's neighbour may bear the name of its index
        raise WrongRequest(f"{index.url} holds the tars themselves", "choose another --out, or leave it out")
    around = posixpath.dirname(folder)
    if _within(target, around) and Store(around).exists("recipe.yaml"):
        raise WrongRequest(
            f"{tars.url} is part of the build {around}, whose manifest names all its files",
            "stream the build itself, or give an --out outside of it",
        )


def _within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


@contextmanager
def held(index: Store) -> Iterator[None]:
    """One run at a time in a local folder. Where it cannot be written, or on an object store, there is no lock."""
    if not index.local:
        yield
        return
    path = Path(index.path("logs/lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError:
        yield  # to read what is there needs no lock, and to write is refused later
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WrongRequest(f"{index.url} is being written by another run", "wait for it") from error
        yield


def old_manifest(index: Store, where: str) -> FolderIndex | None:
    """The manifest of an earlier run. Raises WrongRequest where it is that of something else."""
    if not index.exists(BUILD_MANIFEST):
        return None
    try:
        old = FolderIndex.model_validate_json(index.read_bytes(BUILD_MANIFEST))
    except ValidationError as error:
        if where == "..":
            return None  # what lies in `.pairmill` is ours, and may be made anew
        raise WrongRequest(f"{index.url} holds a manifest that is no index's", "choose another --out") from error
    if old.folder != where:
        raise WrongRequest(
            f"{index.url} holds the index of {old.folder}, not of {where}",
            "choose another --out, or delete that index if the folder has moved",
        )
    return old


def survey(index: Store, found: list[FoundTar], old: FolderIndex | None) -> tuple[dict[str, Indexed], list[str]]:
    """Indexes that are as they should be, by the path of their tar, and the names of those whose tar is gone."""
    there = {n for n in index.walk() if n.endswith(".parquet") and not is_hidden(n)}
    hashes = {} if old is None else {s.index: s.index_sha256 for s in old.shards}
    wanted = {tar.index: tar for tar in found}
    fresh: dict[str, Indexed] = {}
    names = sorted(there & wanted.keys())
    for name, (seal, file, intact) in zip(
        names, ahead(lambda n: _inspected(index, n, hashes.get(n)), names), strict=True
    ):
        tar = wanted[name]
        if seal is None and not index.url.endswith(f"/{FOLDER}"):
            raise WrongRequest(
                f"{index.url}/{name} lies where the index of {tar.path} belongs, and is none", "choose another --out"
            )
        if seal is not None and intact and seal.fingerprint == tar.fingerprint:
            fresh[tar.path] = Indexed(tar, seal, file)
    others = index.seals(sorted(there - wanted.keys()))
    return fresh, [name for name, seal in others.items() if seal is not None and seal.stage == STAGE]


def _inspected(index: Store, name: str, promised: str | None) -> tuple[Seal | None, FileEntry, bool]:
    """Seal and facts of a file, and whether it is what the manifest, or without one its own seal, promises."""
    data = index.read_bytes(name)
    file = file_entry(name, data)
    try:
        parquet = pq.ParquetFile(io.BytesIO(data))
        seal = Seal.decode(parquet.metadata.metadata)
        if seal is None or seal.stage != STAGE:
            return None, file, False
        intact = file.sha256 == promised if promised is not None else content_hash(parquet.read()) == seal.content
    except (pa.ArrowInvalid, OSError, ValueError, KeyError):
        return None, file, False
    return seal, file, intact
