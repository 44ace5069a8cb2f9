"""Image bytes on their way into a part's tar and out of it again.

In: a stage spools what it fetched in order of completion; the part's tar is written in row order, so that its bytes do
not depend on who answered first. Out: byte ranges by the part's index, never a tar scan.
"""

import hashlib
import io
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BLOCK = 512
_SPOOL_IN_MEMORY = 256 << 20
_TAR_RECORD = 10_240  # tar(1) pads an archive to 20 blocks; readers expect it


class Spool:
    """Bytes by row, in any order of arrival: in memory up to 256 MiB, then in an unnamed temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY)  # noqa: SIM115  closed by close()
        self._where: dict[int, tuple[int, int, str]] = {}
        self._end = 0

    def put(self, row: int, data: bytes, ext: str) -> None:
        self._file.seek(self._end)
        self._file.write(data)
        self._where[row] = (self._end, len(data), ext)
        self._end += len(data)

    def ext(self, row: int) -> str | None:
        found = self._where.get(row)
        return found[2] if found else None

    def read(self, row: int) -> bytes:
        """Raises KeyError where the row has no image."""
        offset, size, _ = self._where[row]
        self._file.seek(offset)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's data lies in a tar: byte offset of the data (not of its header) and its size."""

    name: str
    offset: int
    size: int


class PayloadTar:
    """A tar whose bytes depend only on the members' names, data and order: fixed mode, owner and time.

    One header and one write per member (stdlib `tarfile` builds the header); POSIX ustar, members under 8 GiB.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, name: str, data: bytes) -> Member:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o444
        header = info.tobuf(tarfile.USTAR_FORMAT)
        offset = self.bytes + len(header)
        self._write(header)
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return Member(name, offset, len(data))

    def finish(self) -> str:
        """Write the end of the archive; returns the sha256 (hex) of the whole file."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self.bytes % _TAR_RECORD))
        self._file.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)


def read_range(file: BinaryIO | io.BufferedIOBase, offset: int, size: int) -> bytes:
    """`size` bytes at `offset`. Raises EOFError when the file is shorter."""
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f"{size} bytes wanted at {offset}, {len(data)} found")
    return data
