"""From the paths in a recipe to the pool's files, in an order that depends on nothing but their names.

A path is a file, a glob, a folder (searched to its depth) or an fsspec URL of any of them. Files come in the order of
the paths; inside a glob or a folder, sorted by name. A file that two paths name is read once. Names that begin with
`.` or `_` are left out of globs and folders (`_SUCCESS`, `.part.crc`), as Hadoop and Spark mean them.
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

import fsspec
import pyarrow as pa

from schemas.errors import WrongData, WrongRequest

_EXTENSIONS = {
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_COMPRESSIONS: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class PoolFile:
    """One input file."""

    fs: Any
    """The fsspec file system it lies on."""
    path: str
    """As `fs` takes it."""
    name: str
    """Relative to the common root of the pool's files: the same wherever the pool lies."""
    format: str
    """parquet, csv, tsv or jsonl."""
    compression: Literal["gzip", "zstd"] | None
    """gzip, zstd or None."""

    def open(self) -> BinaryIO:
        """The raw bytes, for random reads. Raises WrongData when the file is gone or may not be read."""
        try:
            return self.fs.open(self.path, "rb")
        except OSError as error:
            raise self.broken(error.strerror or str(error)) from error

    def unpacked(self, raw: BinaryIO) -> pa.NativeFile:
        """The decompressed bytes of `raw`, to its end. pyarrow's streams tell a torn gzip or zstd file (OSError), and
        read concatenated ones."""
        stream: pa.NativeFile = pa.PythonFile(cast("Any", raw), mode="r")
        return pa.CompressedInputStream(stream, self.compression) if self.compression else stream

    def broken(self, cause: object) -> WrongData:
        """The error for a file that cannot be read to its end."""
        return WrongData(f"pool file {self.path} cannot be read: {cause}", "restore it, or take it out of pool.paths")


def find_files(paths: list[str], base: str, format_: str) -> list[PoolFile]:
    """The files behind `paths`; relative paths start at `base`.

    Raises WrongRequest when a path leads nowhere, or when the format of a file is to be told by a name that does not.
    """
    found: dict[tuple[str, str], tuple[Any, str]] = {}
    for path in paths:
        fs, at = _open_fs(_resolve(path, base), path)
        matched = _expand(fs, at, path)
        if not matched:
            raise WrongRequest(f"pool.paths: no file matches {path!r}", "correct the path, or take it out")
        for name in matched:
            found.setdefault((_label(fs), name), (fs, name))
    chosen = list(found.values())
    names = _relative_names(chosen)
    return [
        PoolFile(fs, path, name, *_format_of(path, format_)) for (fs, path), name in zip(chosen, names, strict=True)
    ]


def _resolve(path: str, base: str) -> str:
    if "://" in path or "::" in path or path.startswith("~") or Path(path).is_absolute() or not base:
        return path
    return f"{base.rstrip('/')}/{path}" if "://" in base else str(Path(base) / path)


def _open_fs(url: str, path: str) -> tuple[Any, str]:
    try:
        fs, at = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise WrongRequest(f"pool.paths: cannot open {path!r}: {error}", "give a path or an fsspec URL") from error
    return fs, os.path.normpath(at) if _label(fs) == "file" else str(at).rstrip("/")


def _label(fs: Any) -> str:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return "file" if protocol in ("file", "local") else str(protocol)


def _expand(fs: Any, at: str, path: str) -> list[str]:
    """Files behind one path, sorted; none when it leads nowhere."""
    try:
        if fs.isfile(at):
            return [at]
        if fs.isdir(at):
            return _in_folder(fs, at)
        if not _GLOB & set(at):
            return []
        folder = at[: min(at.index(c) for c in _GLOB if c in at)].rpartition("/")[0]
        matched: dict[str, Any] = fs.glob(at, detail=True)  # one listing, no stat per file
        seen = {name: info for name, info in sorted(matched.items()) if not _hidden(name, folder, keep=path)}
        return [f for m, info in seen.items() for f in (_in_folder(fs, m) if info["type"] == "directory" else [m])]
    except OSError as error:
        raise WrongRequest(
            f"pool.paths: cannot list {path!r}: {error}", "correct the path or its permissions"
        ) from error


def _in_folder(fs: Any, folder: str) -> list[str]:
    return sorted(str(f) for f in fs.find(folder) if not _hidden(str(f), folder))


def _hidden(path: str, folder: str, keep: str = "") -> bool:
    """Whether a name below `folder` begins with `.` or `_`, unless the pattern `keep` spells that out."""
    wanted = {part[0] for part in keep.split("/") if part[:1] in (".", "_") and part not in (".", "..")}
    parts = path[len(folder) :].strip("/").split("/")
    return any(part[:1] in (".", "_") and part[:1] not in wanted for part in parts)


def _relative_names(files: list[tuple[Any, str]]) -> list[str]:
    """Names relative to the common root; where file systems differ, each has its own, and its protocol in front."""
    roots: dict[str, list[str]] = {}
    for fs, path in files:
        roots.setdefault(_label(fs), []).append(str(PurePosixPath(path).parent))
    common = {label: os.path.commonpath(parents) for label, parents in roots.items()}
    prefix = {label: f"{label}:" if len(roots) > 1 else "" for label in roots}
    return [prefix[_label(fs)] + os.path.relpath(path, common[_label(fs)] or ".") for fs, path in files]


def _format_of(path: str, format_: str) -> tuple[str, Literal["gzip", "zstd"] | None]:
    name = PurePosixPath(path)
    compression = _COMPRESSIONS.get(name.suffix.lower())
    if format_ != "auto":
        return format_, compression
    found = _EXTENSIONS.get((name.with_suffix("") if compression else name).suffix.lower())
    if found is None:
        raise WrongRequest(
            f"pool file {path} has a name that tells no format",
            "set pool.format to parquet, csv, tsv or jsonl, or name the files by a glob "
            "(known endings: .parquet .csv .tsv .jsonl .json, each also with .gz or .zst)",
        )
    return found, compression
