"""The tars of a folder, and by what one tells that a tar has changed."""

import os
import stat
from dataclasses import dataclass
from typing import Any

from pipelines.show import safe
from schemas.errors import WrongData, WrongRequest
from stages.store import Store, digest

_TAR = ".tar"
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4")
# How the file systems of fsspec call what changes with a file's bytes, the surest first.
_STATES = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "mtime", "LastModified", "last_modified", "created")
_LONGEST = 255
"""Bytes of a file's name, on the usual file systems."""
_RENAME = "rename one of them"
_VERSION = 1
"""Of what an index holds: another one makes every index anew."""


@dataclass(frozen=True, slots=True)
class FoundTar:
    """A tar of the folder."""

    path: str
    """Relative to the folder."""
    bytes: int
    state: str | None
    """What the store says that changes with the tar's bytes; null where it says nothing."""

    @property
    def index(self) -> str:
        """Name of its index, relative to INDEX."""
        return f"{self.path.removesuffix(_TAR)}.parquet"

    @property
    def fingerprint(self) -> str:
        """Of its index: a tar with the same one is taken for unchanged."""
        return digest({"version": _VERSION, "shard": self.path, "bytes": self.bytes, "state": self.state})


def find_tars(store: Store) -> list[FoundTar]:
    """All tars of a folder to its depth, in order of path; one listing.

    Raises WrongRequest where there is none or the folder is a build, WrongData where one is compressed, no file,
    or named so that its index could not be.
    """
    try:
        store.fs.invalidate_cache()
        loud = {"on_error": "raise"} if store.local else {}  # by default a folder that may not be read is left out
        listed: dict[str, Any] = store.fs.find(store.root, detail=True, **loud) if store.fs.isdir(store.root) else {}
    except OSError as error:
        raise WrongRequest(f"cannot list {store.url}: {error}", "correct the path or its permissions") from error
    names = {str(name)[len(store.root) + 1 :]: entry for name, entry in listed.items()}
    if "recipe.yaml" in names:
        raise WrongRequest(f"{store.url} is a build, which is streamed as it is", "index only folders of other tars")
    names = {n: e for n, e in sorted(names.items()) if not is_hidden(n)}
    packed = next((n for n in names if n.lower().endswith(_PACKED)), None)
    if packed is not None:
        raise WrongData(
            f"{safe(packed)} is compressed: its members cannot be read where they lie", "unpack it to a .tar"
        )
    tars = [_found(store, name, entry) for name, entry in names.items() if name.endswith(_TAR)]
    if not tars:
        raise WrongRequest(f"{store.url} holds no .tar file", "give a folder of WebDataset tars, or its fsspec URL")
    _require_places(tars)
    return tars


def is_hidden(name: str) -> bool:
    """Whether a part of a path begins with a dot: what is not finished, not meant, or `..`."""
    return any(part.startswith(".") for part in name.split("/"))


def _require_places(tars: list[FoundTar]) -> None:
    """Raises WrongData where an index cannot lie where its name says."""
    indexes = {tar.index for tar in tars}
    for tar in tars:
        parts = tar.index.split("/")
        if safe(tar.path) != tar.path or max(len(os.fsencode(part)) for part in parts) > _LONGEST:
            raise WrongData(
                f"{safe(tar.path)} cannot be the name of an index, too", "give the tar a short, printable name"
            )
        if around := {"/".join(parts[:i]) for i in range(1, len(parts))} & indexes:
            raise WrongData(
                f"the index of another tar would be called {around.pop()}, as a folder of {tar.path}", _RENAME
            )


def _found(store: Store, name: str, entry: dict[str, Any]) -> FoundTar:
    if store.local:
        try:
            info = os.stat(store.path(name))  # noqa: PTH116  of what a link leads to, which fsspec does not tell
        except OSError as error:
            raise WrongData(f"{safe(name)} cannot be read: {error.strerror}", "restore it, or take it away") from error
        if not stat.S_ISREG(info.st_mode):
            raise WrongData(f"{safe(name)} is no file", "rename it, or take it away")
        return FoundTar(name, info.st_size, f"mtime {info.st_mtime_ns}")
    if entry.get("size") is None:
        raise WrongRequest(
            f"{store.url} does not tell the size of {safe(name)}", "copy the tars to a disk or object store"
        )
    states = (f"{key} {entry[key]}" for key in _STATES if entry.get(key))
    return FoundTar(name, int(entry["size"]), next(states, None))
