"""The build folder: a local path or an fsspec URL, and the one way in which a file gets into it.

**Commit.** A file is written under a temporary name and renamed (local), or written locally and put in one request
(object store). A reader therefore sees a whole file or none. Parquet files carry a `Seal` in their own footer: a file
whose seal has the expected fingerprint is done, anything else is not, and there is no other state.

Names are relative to the build (`measures/clip/00042.parquet`). Temporary files are `.tmp-*`; a killed build leaves
some behind, and `sweep` removes them.
"""

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import WrongData, WrongRequest
from stages.canonical import canonical

SEAL_KEY = b"pairmill"
"""Where a Parquet footer keeps the seal."""
ROWS_AT_ONCE = 65_536
"""Rows of a Parquet row group, and of a batch in a content hash: so both can be made from a stream."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a full disk and of a used-up quota."""
_LIST_THREADS = 16


@dataclass(frozen=True, slots=True)
class Seal:
    """What a committed file says of itself, in its own footer."""

    fingerprint: str
    """Hash of everything that decided the bytes: what resume compares."""
    content: str
    """Hash of the rows themselves: what later stages take as their input's fingerprint."""
    stage: str
    rows: int
    extra: dict[str, Any] = field(default_factory=dict)
    """What the stage adds; for a part's index, the sha256 and size of its tar."""

    def encode(self) -> bytes:
        return json.dumps(
            {
                "fingerprint": self.fingerprint,
                "content": self.content,
                "stage": self.stage,
                "rows": self.rows,
                **self.extra,
            },
            sort_keys=True,
        ).encode()

    @staticmethod
    def decode(metadata: dict[bytes, bytes] | None) -> "Seal | None":
        raw = (metadata or {}).get(SEAL_KEY)
        if raw is None:
            return None
        data = json.loads(raw)
        return Seal(data.pop("fingerprint"), data.pop("content"), data.pop("stage"), data.pop("rows"), data)


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def content_hash(table: pa.Table) -> str:
    """sha256 (hex) of a table's rows and column types, independent of chunking and of schema metadata."""
    hasher = ContentHasher(table.schema)
    hasher.write(table.combine_chunks())
    return hasher.finish()


class ContentHasher:
    """`content_hash` of a table that comes in pieces: every piece but the last has a multiple of ROWS_AT_ONCE rows."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = pa.schema([pa.field(f.name, _bare(f.type), f.nullable) for f in schema])
        self._sink = _HashSink()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._sink, mode="w"), self._schema)

    def write(self, table: pa.Table) -> None:
        plain = table.replace_schema_metadata(None).cast(self._schema).combine_chunks()
        for start in range(0, plain.num_rows, ROWS_AT_ONCE):
            # A copy by take has nothing left of what lies under nulls and behind a slice; IPC would write that, too.
            rows = np.arange(start, min(start + ROWS_AT_ONCE, plain.num_rows))
            self._writer.write_table(canonical(plain.take(rows).combine_chunks()))

    def finish(self) -> str:
        self._writer.close()
        return self._sink.hexdigest()


def _bare(kind: pa.DataType) -> pa.DataType:
    """A type without metadata inside and with list items called `item`: Parquet gives them back as `element`."""
    if pa.types.is_list(kind):
        item: Any = kind.value_field  # pyright: ignore[reportAttributeAccessIssue]
        return pa.list_(pa.field("item", _bare(item.type), item.nullable))
    if pa.types.is_struct(kind):
        fields: list[Any] = [kind.field(i) for i in range(kind.num_fields)]  # pyright: ignore[reportAttributeAccessIssue]
        return pa.struct([pa.field(f.name, _bare(f.type), f.nullable) for f in fields])
    return kind


class _HashSink(io.RawIOBase):
    """A write-only file that keeps a sha256."""

    def __init__(self) -> None:
        super().__init__()
        self._hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return len(data)

    def writable(self) -> bool:
        return True

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Store:
    """Files of one build. Cheap to make and picklable: workers get the URL and open their own."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or "/"
        try:
            self._fs, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise WrongRequest(f"cannot open build folder {url!r}: {error}", "give a path or an fsspec URL") from error
        self.root: str = str(root).rstrip("/")
        self.local = isinstance(self._fs, LocalFileSystem)
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return (Store, (self.url,))

    @property
    def fs(self) -> Any:
        """The file system; a forked process has one of its own, since connections and event loops do not fork."""
        if self._process != os.getpid():
            self._fs, self._process = fsspec.core.url_to_fs(self.url)[0], os.getpid()
        return self._fs

    def path(self, name: str) -> str:
        """Full path of a file inside the build, as `self.fs` takes it."""
        return f"{self.root}/{name}"

    # ------------------------------------------------------------------ reading

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        return int(self.fs.size(self.path(name)))

    def open(self, name: str) -> BinaryIO:
        """Open for random reads. Raises WrongData when the file is not there."""
        try:
            return self.fs.open(self.path(name), "rb")
        except FileNotFoundError as error:
            raise WrongData(f"{name} is missing from {self.url}", "run the build again to make it anew") from error

    def read_bytes(self, name: str) -> bytes:
        with self.open(name) as f:
            return f.read()

    def listing(self, folder: str) -> dict[str, int]:
        """Names (relative to the build) and sizes of the files right in a folder; one listing, no stat per file."""
        try:
            found = self.fs.ls(self.path(folder), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        names = ((str(e["name"]).rsplit("/", 1)[-1], e) for e in found if e["type"] == "file")
        return {f"{folder}/{n}": int(e["size"]) for n, e in sorted(names) if not n.startswith(".tmp-")}

    def walk(self) -> dict[str, int]:
        """Every file of the build with its size, temporary ones left out."""
        self.fs.invalidate_cache()
        found = self.fs.find(self.root, detail=True)
        names = {str(k)[len(self.root) + 1 :]: int(v["size"]) for k, v in found.items()}
        return {n: s for n, s in sorted(names.items()) if not n.rsplit("/", 1)[-1].startswith(".tmp-")}

    def seal(self, name: str) -> Seal | None:
        """The seal of a Parquet file; None when the file is absent, torn or not ours."""
        try:
            with self.fs.open(self.path(name), "rb") as f:
                return Seal.decode(pq.read_metadata(f).metadata)
        except (FileNotFoundError, pa.ArrowInvalid, OSError, ValueError, KeyError):
            return None

    def seals(self, names: Iterable[str]) -> dict[str, Seal | None]:
        """Seals of many files, read in threads."""
        wanted = list(names)
        with ThreadPoolExecutor(_LIST_THREADS) as pool:
            return dict(zip(wanted, pool.map(self.seal, wanted), strict=True))

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One Parquet file. Raises WrongData when it is missing or torn."""
        with self.open(name) as f:
            try:
                return pq.ParquetFile(f).read(columns=columns)
            except (pa.ArrowInvalid, OSError) as error:
                raise WrongData(f"{name} cannot be read: {error}", "delete it and run the build again") from error

    def sha256(self, name: str) -> str:
        with self.open(name) as f:
            return hashlib.file_digest(f, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]

    # ------------------------------------------------------------------ writing

    def require_writable(self) -> None:
        """Raises WrongRequest when files cannot be committed here."""
        name = f".tmp-{secrets.token_hex(8)}"
        try:
            self.fs.makedirs(self.root, exist_ok=True)
            with self.fs.open(self.path(name), "wb") as f:
                f.write(b"x")
            self.fs.rm_file(self.path(name))
        except Exception as error:
            raise WrongRequest(
                f"cannot write to {self.url}: {error}", "choose another --out or fix its permissions"
            ) from error

    @contextmanager
    def committing(self, name: str) -> Iterator[Path]:
        """A local temporary path to write to; committed under `name` when the block ends without an error.

        Raises WrongData when the disk is full; nothing is committed then.
        """
        target = self.path(name)
        folder = Path(target).parent if self.local else Path(tempfile.gettempdir())
        if self.local:
            folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".tmp-{os.getpid()}-{secrets.token_hex(6)}"
        try:
            yield temporary
            if self.local:
                _fsync(temporary)
                temporary.replace(target)
            else:
                self.fs.put_file(str(temporary), target)
        except OSError as error:
            if error.errno in FULL:
                raise WrongData(
                    f"no space left for {name}", f"free space under {folder}, then run the same command again"
                ) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def write_table(self, name: str, table: pa.Table, seal: Seal) -> None:
        """Commit a Parquet file with its seal in the footer. The bytes depend on the rows, the schema and the seal."""
        metadata = {SEAL_KEY: seal.encode()}
        with (
            self.committing(name) as path,
            pq.ParquetWriter(
                path, table.schema.with_metadata(metadata), compression="zstd", write_statistics=True
            ) as writer,
        ):
            writer.write_table(table.replace_schema_metadata(metadata).combine_chunks(), row_group_size=ROWS_AT_ONCE)

    def write_bytes(self, name: str, data: bytes) -> None:
        with self.committing(name) as path:
            path.write_bytes(data)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        try:
            self.fs.rm_file(self.path(name))
        except FileNotFoundError:
            return

    def sweep(self) -> None:
        """Remove what killed builds left half-written. Only a build that holds the folder may call it."""
        if not self.local:
            return  # an object store never shows a half-written object, and local temporaries are the OS's to clean
        for path in Path(self.root).rglob(".tmp-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    with path.open("rb") as f:
        os.fsync(f.fileno())


def sealed(table: pa.Table, fingerprint: str, stage: str, **extra: Any) -> Seal:
    """The seal for a table about to be written."""
    return Seal(fingerprint, content_hash(table), stage, table.num_rows, extra)
