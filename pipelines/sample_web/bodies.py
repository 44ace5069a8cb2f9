"""Bodies that are not honest pictures: bombs, pages in disguise, crumbs. Each is built by hand, byte by byte."""

from __future__ import annotations

import struct
import zlib
from random import Random

BOMB_SIDE = 30_000
OVERSIZE_BYTES = 96 << 20
"""Length of the oversize body: a byte cap must lie below it."""
ENDLESS_LIMIT = 512 << 20
"""Where the endless body ends after all, so that a client without a cap ends too."""

HTML = (
    b"<!doctype html><html><head><title>Not found</title></head>"
    b"<body><h1>Sorry</h1><p>This picture has moved. <img src='/logo.png'></p></body></html>"
)
SVG = (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="200" height="200">'
    b'<circle cx="100" cy="100" r="80" fill="red"/></svg>'
)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(side: int, bits: int, compressed: bytes, colour: int = 0) -> bytes:
    """A PNG, colour type 0 (grey) or 2 (RGB), whose image data is `compressed` (PNG specification, section 11.2)."""
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", compressed) + _chunk(b"IEND", b"")


def bomb_header() -> bytes:
    """A few dozen bytes whose header promises 900 million pixels."""
    return _png(BOMB_SIDE, 8, zlib.compress(b"\0" * 64))


def bomb_zlib() -> bytes:
    """A complete 1-bit PNG of 900 million pixels: about 110 kB that unpack to 112 MB."""
    rows, repeats = b"\0" * (1 + BOMB_SIDE // 8) * 100, BOMB_SIDE // 100
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)  # stands alone, so it can be repeated
    checksum = 1
    for _ in range(repeats):
        checksum = zlib.adler32(rows, checksum)
    return _png(BOMB_SIDE, 1, b"\x78\xda" + block * repeats + b"\x03\x00" + struct.pack(">I", checksum))


def small_png(side: int, seed: str) -> bytes:
    """A sound RGB PNG of `side` × `side` pixels, another one for every seed: small must not mean duplicate."""
    rng = Random(f"small:{seed}")
    rows = b"".join(b"\0" + rng.randbytes(3 * side) for _ in range(side))
    return _png(side, 8, zlib.compress(rows), colour=2)
