"""Lines of a text file, compressed or not, in bounded memory."""

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from schemas.errors import WrongData
from stages.pool.files import PoolFile

BLOCK = 1 << 20
MAX_LINE = 4 << 20
"""Bytes. A longer line is one malformed row: no file may ask for the machine's memory."""


class Overlong(bytes):
    """The first bytes of a line of more than MAX_LINE."""


def lines(file: PoolFile, newlines: bool = False) -> Iterator[bytes]:
    """Lines with their ends, split at \\n, or at \\r, \\n and \\r\\n when `newlines`; a byte order mark is dropped.

    Raises WrongData when the file is gone, torn, or UTF-16.
    """
    held, dropping = b"", False
    for block in _blocks(file):
        pieces = _split(held + block, newlines)
        held = pieces.pop()
        if dropping and pieces:
            dropping = False
            del pieces[0]
        if pieces and len(pieces[0]) > MAX_LINE:
            pieces[0] = _cut(pieces[0])
        yield from pieces
        if dropping:
            held = held[-1:]  # a \r must still meet its \n
        elif len(held) > MAX_LINE:
            yield _cut(held)
            held, dropping = held[-1:], True
    if held and not dropping:
        yield held


def _cut(line: bytes) -> Overlong:
    return Overlong(line[:200])


def _split(data: bytes, newlines: bool) -> list[bytes]:
    """Whole lines, then what is left over (maybe empty). A \\r at the end is left over: a \\n may follow."""
    if not newlines:
        whole, end, rest = data.rpartition(b"\n")
        return [*(line + b"\n" for line in whole.split(b"\n")), rest] if end else [rest]
    pieces = data.splitlines(keepends=True)
    if not pieces or pieces[-1].endswith(b"\n"):
        pieces.append(b"")
    return pieces


def _blocks(file: PoolFile) -> Iterator[bytes]:
    """Decompressed blocks, without a byte order mark."""
    with closing(file.open()) as raw:
        stream = file.unpacked(raw)
        first = True
        while block := _read(file, stream):
            if first:
                first = False
                if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise WrongData(f"pool file {file.path} is UTF-16", "convert it to UTF-8")
                block = block.removeprefix(b"\xef\xbb\xbf")
            if block:
                yield block


def _read(file: PoolFile, stream: pa.NativeFile) -> bytes:
    try:
        return stream.read(BLOCK)
    except OSError as error:
        raise file.broken(error) from error
