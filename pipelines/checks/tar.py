"""A tar read once from front to back: every member with the hash of its data, and the hash of the whole file."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipelines.checks.finding import Finding, Scope
from schemas.errors import WrongData

_CHUNK = 1 << 20
_MOST_TEXT = 64 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A member as it lies in the tar; `data` only for those asked for."""

    name: str
    offset: int
    size: int
    sha256: str
    data: bytes | None


class _Hashing(io.RawIOBase):
    """A file that is only read forward and keeps a sha256 of what went by: one pass hashes the tar and its members."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.bytes += len(data)
        return data

    def tell(self) -> int:
        return self.bytes

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Forward by reading. Raises OSError backward: a header that points there is damaged."""
        if whence != io.SEEK_SET or offset < self.bytes:
            raise OSError(f"a header points back to {offset}")
        while self.bytes < offset and self.read(min(_CHUNK, offset - self.bytes)):
            pass
        return self.bytes

    def drain(self) -> str:
        """Read what is left; the sha256 of the whole."""
        while self.read(_CHUNK):
            pass
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class TarCheck:
    """Every member in order, and what is wrong with the tar itself."""

    members: list[Found]
    findings: list[Finding]


def check_tar(scope: Scope, name: str, promised: tuple[str | None, int | None], text: tuple[str, ...] = ()) -> TarCheck:
    """Read a tar. `promised`: sha256 and bytes in its index's seal; `text`: endings of members whose data to keep."""
    found: list[Finding] = []
    members: list[Found] = []
    try:
        file = scope.store.open(name)
    except WrongData:
        return TarCheck([], [Finding(name, "is missing")])
    with file:
        reader = _Hashing(file)
        try:
            members.extend(_members(reader, text))
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            found.append(Finding(name, f"is not a whole tar after {len(members)} members: {error}"))
        sha256 = reader.drain()
    found += scope.against_manifest(name, reader.bytes, sha256)
    if promised != (sha256, reader.bytes):
        found.append(Finding(name, "is not the tar that its index was written for"))
    return TarCheck(members, found)


def _members(reader: _Hashing, text: tuple[str, ...]) -> Iterator[Found]:
    with tarfile.open(fileobj=reader, mode="r:") as tar:
        for info in tar:
            data = tar.extractfile(info) if info.isreg() else None
            if data is None:
                raise tarfile.ReadError(f"{info.name!r} is not a regular file")
            digest, kept, size = hashlib.sha256(), [], 0
            keep = info.name.endswith(text) and info.size <= _MOST_TEXT if text else False
            while chunk := data.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                if keep:
                    kept.append(chunk)
            whole = b"".join(kept) if keep else None
            yield Found(info.name, info.offset_data, size, digest.hexdigest(), whole)
