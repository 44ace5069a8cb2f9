"""The members of a tar in one pass forward, every byte of it hashed on the way.

In: a tar as a binary file, read in blocks of 8 MiB and never sought. Out: a `tarfile.TarInfo` per member, with the
place of its data; at the end the size and sha256 of the whole. Names as `tarfile` reads them, and so `webdataset`:
ustar prefixes, GNU long names, pax paths.

`tarfile` itself ends in silence at a header that is torn, at an end without its marker and at what follows the marker.
Here each of these is WrongData that names the tar and the byte. Sparse members and compressed tars are refused, too:
their data do not lie in the file as they are read.
"""

import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from schemas.errors import WrongData

BLOCK = 8 << 20
"""Bytes of one read."""
_HEADERS = 64 << 10
"""Of all headers of one member: a path has at most 4,096 bytes; what is longer is no path but an attack on memory."""
_DIGITS = 255
"""A file's name has no more bytes than that; `tarfile` takes quadratic time over longer runs (CVE-2024-6232)."""
_HUGE = 1 << 62
"""More than any file has, and it fits the index."""
_PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
_ANEW = "fetch it anew, or take it out of the folder"


class ForwardReader:
    """A tar's bytes, in order, once. What `tarfile` needs of a file: `read`, `tell`, and a `seek` that goes forward."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """`name` is what errors call the tar."""
        self.name = name
        self._file = file
        self._hash = hashlib.sha256()
        self._block, self._start, self._at = b"", 0, 0
        self._headers = 0
        self._fill()
        self._require_tar()

    def tell(self) -> int:
        return self._at

    def seek(self, at: int) -> None:
        """Forward only: a member that claims to end before it begins is a lie."""
        if at < self._at:
            raise self.torn(self._at, "a size that is not one")
        while at > self._start + len(self._block):
            self._advance()
        self._at = at

    def read(self, size: int) -> bytes:
        """`size` bytes of a header. Raises WrongData where there are fewer, or where headers have no end."""
        self._headers += size
        if size < 0 or self._headers > _HEADERS:
            raise self.torn(self._at, f"headers of one member with more than {_HEADERS:,} bytes")
        found = self.take(size)
        if size > tarfile.BLOCKSIZE and re.search(rb"[0-9]{%d}" % (_DIGITS + 1), found):
            raise self.torn(self._at - size, "a long header that is not a path")
        return found

    def take(self, size: int) -> bytes:
        """The next `size` bytes, which are data. Raises WrongData where there are fewer."""
        begin = self._at - self._start
        self._at += size
        if begin + size <= len(self._block):
            return self._block[begin : begin + size]
        pieces = [self._block[begin:]]
        while self._at > self._start + len(self._block):
            self._advance()
            pieces.append(self._block[: self._at - self._start])
        return b"".join(pieces)

    def begin_member(self) -> None:
        """From here on count the headers of the next member."""
        self._headers = 0

    def finish(self) -> tuple[int, str]:
        """(bytes, sha256 hex) of the whole tar. Raises WrongData where something follows the end of the archive."""
        rest = self._block[self._at - self._start :]
        while rest:
            if rest != bytes(len(rest)):
                raise WrongData(
                    f"{self.name}: data follow the end of the archive, after byte {self._at}, which no reader sees",
                    "if tars were concatenated, repack them with `tar --ignore-zeros -xf` and `tar -cf`",
                )
            rest = self._fill()
        return self._start, self._hash.hexdigest()

    def torn(self, at: int, what: str) -> WrongData:
        return WrongData(f"{self.name} is damaged at byte {at}: {what}", _ANEW)

    def _advance(self) -> None:
        if not self._fill():
            raise self.torn(self._start, "the file ends here, and the archive does not")

    def _fill(self) -> bytes:
        """The next block; empty at the end of the file."""
        self._start += len(self._block)
        self._block = self._file.read(BLOCK)
        self._hash.update(self._block)  # releases the GIL
        return self._block

    def _require_tar(self) -> None:
        if not self._block:
            raise WrongData(f"{self.name} has no bytes: not even an empty archive is that short", _ANEW)
        for magic, tool in _PACKED.items():
            if self._block.startswith(magic):
                raise WrongData(
                    f"{self.name} is compressed: members of a compressed tar cannot be read where they lie",
                    f"unpack it with `{tool}`",
                )


def members(reader: ForwardReader) -> Iterator[tarfile.TarInfo]:
    """Every member, `offset_data` and `size` its place; data that are not taken before the next one are passed over.

    Raises WrongData naming the tar and the byte where it is damaged, and the member where it is sparse.
    """
    tar: Any = tarfile.TarFile(fileobj=reader, tarinfo=_Header, encoding="utf-8", errors="surrogateescape")  # pyright: ignore[reportArgumentType]
    while (info := tar.next()) is not None:
        tar.members.clear()
        if info.issparse():
            raise WrongData(
                f"{reader.name}: {info.name!r} is a sparse member, its data do not lie in one piece",
                "repack the tar without `--sparse`",
            )
        if not 0 <= info.size < _HUGE or (info.isreg() and info.offset_data + info.size > tar.offset):
            raise reader.torn(info.offset, f"{info.name!r} has a size that is not one")
        yield info
        reader.begin_member()
    tar.close()


class _Header(tarfile.TarInfo):
    """A header as the standard library reads it, but no failure is taken for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> "_Header":
        """Raises WrongData naming the byte at which the header lies; lets the end of the archive pass."""
        reader: ForwardReader = tarfile.fileobj
        at = reader.tell()
        try:
            return super().fromtarfile(tarfile)
        except _END:
            raise
        except (_BAD_HEADER, ValueError, IndexError) as error:
            raise reader.torn(at, f"no header of a tar ({error})") from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """`TarInfo.frombuf`, of a plain header only what an index needs: a third of the time."""
        kind, size, checksum = buf[156:157], buf[124:136], buf[148:156]
        plain = kind in _PLAIN and _SIZE(size) and _CHECKSUM(checksum)
        if not plain or int(checksum[:6], 8) != _sum(buf):
            header = super().frombuf(buf, encoding, errors)
            if header.size < 0:
                raise _BAD_HEADER("negative size")
            return header
        header = cls()
        header.name = buf[:100].partition(b"\0")[0].decode(encoding, errors)
        header.size, header.type = int(size[:11], 8), bytes(kind)
        prefix = buf[345:500].partition(b"\0")[0]
        if prefix and kind != tarfile.GNUTYPE_LONGNAME:
            header.name = f"{prefix.decode(encoding, errors)}/{header.name}"
        return header


_END: Any = tarfile.EOFHeaderError  # pyright: ignore[reportAttributeAccessIssue]
_BAD_HEADER = tarfile.HeaderError
_PLAIN = (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_SIZE = re.compile(rb"[0-7]{11}[\0 ]").fullmatch
_CHECKSUM = re.compile(rb"[0-7]{6}[\0 ]{2}").fullmatch


def _sum(header: bytes | bytearray) -> int:
    """Sum of a header's bytes, the eight of its checksum counted as spaces."""
    # The low half of adler32 is 1 + the sum of the bytes modulo 65,521: exact for up to 256 bytes.
    low, high, own = zlib.adler32(header[:256]), zlib.adler32(header[256:]), zlib.adler32(header[148:156])
    return (low & 0xFFFF) + (high & 0xFFFF) - (own & 0xFFFF) - 1 + 8 * ord(" ")
