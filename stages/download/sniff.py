"""What bytes are, by their own header: format, size and orientation, without decoding a pixel.

Own readers, because the libraries decode or allocate the canvas already when they open some of these formats, and a
bomb must be refused before that. AVIF alone goes through Pillow, whose plug-in only parses on opening.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

from stages.download.exif import ORIENTATION, orientation_of, read_tags
from stages.download.reasons import DownloadReason, Refusal

EXTENSIONS = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "bmp": "bmp",
    "tiff": "tif",
    "avif": "avif",
}
"""Formats that are kept → file extension."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image's header says."""

    format: str
    width: int
    """Pixels as shown, that is with `orientation` applied."""
    height: int
    orientation: int = 1
    """EXIF orientation still to be applied, 1–8."""
    bits: int = 8
    """Bits per channel; 8 for what has fewer."""


_MOST = 2**31 - 1  # pixels a side: PNG's own limit, and what the columns hold


class _Torn(ValueError):
    """The header ends early or contradicts itself."""


def sniff(data: bytes) -> Facts | Refusal:
    """Facts of an image, or not_an_image / unsupported_format."""
    kind = _kind(data)
    if kind not in EXTENSIONS:
        return _foreign(data, kind)
    try:
        facts = _READERS[kind](data)
    except (_Torn, struct.error):
        return Refusal(DownloadReason.NOT_AN_IMAGE, detail=f"{kind} with a broken header")
    if not (0 < facts.width <= _MOST and 0 < facts.height <= _MOST):
        return Refusal(DownloadReason.NOT_AN_IMAGE, detail=f"{kind} with an impossible size")
    return facts


# Magic → name. Those in EXTENSIONS are kept; the others are media that are told apart for the ledger's sake.
_MAGIC: list[tuple[int, bytes, str]] = [
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "bigtiff"),
    (0, b"MM\0+", "bigtiff"),
    (0, b"\0\0\1\0", "ico"),
    (0, b"8BPS", "psd"),
    (0, b"%PDF", "pdf"),
    (0, b"\xff\x0a", "jpeg xl"),
    (0, b"\0\0\0\x0cJXL ", "jpeg xl"),
    (0, b"\0\0\0\x0cjP  ", "jpeg 2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg 2000"),
    (0, b"\x1aE\xdf\xa3", "video"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "audio"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x1f\x8b", "gzip"),
]
_BRANDS = {
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heif",
    b"heix": "heif",
    b"hevc": "heif",
    b"heim": "heif",
    b"mif1": "heif",
    b"msf1": "heif",
}
_MEDIA = frozenset({"bigtiff", "ico", "psd", "pdf", "jpeg xl", "jpeg 2000", "heif", "svg", "video", "audio", "ogg"})


def _kind(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[i : i + 4] for i in range(16, min(_u32(data, 0), len(data), 256) - 3, 4))]
        known = [_BRANDS[b] for b in brands if b in _BRANDS]
        return "avif" if "avif" in known else (known[0] if known else "video")
    if data[:4] == b"RIFF" and data[8:12] != b"WEBP":
        return "video"
    if data[:2] == b"BM" and len(data) > 18 and _u32(data, 14, "<") in (12, 40, 52, 56, 64, 108, 124):
        return "bmp"
    return next((name for at, magic, name in _MAGIC if data[at : at + len(magic)] == magic), None)


def _foreign(data: bytes, kind: str | None) -> Refusal:
    kind = kind or _text_kind(data)
    unsupported = kind in _MEDIA
    return Refusal(DownloadReason.UNSUPPORTED_FORMAT if unsupported else DownloadReason.NOT_AN_IMAGE, detail=kind)


def _text_kind(data: bytes) -> str | None:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head and head.startswith((b"<?xml", b"<svg", b"<!--", b"<!doctype svg")):
        return "svg"
    if head.startswith((b"<!doctype html", b"<html")) or (head.startswith(b"<") and b"<html" in head):
        return "html"
    if head.startswith(b"<"):
        return "xml"
    if head.startswith((b"{", b"[")):
        return "json"
    return "text" if head and all(b >= 32 or b in b"\t\r\n\f" for b in head) else None


def _u32(data: bytes | memoryview, at: int, order: str = ">") -> int:
    return int(struct.unpack_from(f"{order}I", data, at)[0])


def _shown(kind: str, width: int, height: int, orientation: int, bits: int = 8) -> Facts:
    if orientation >= 5:  # 5–8 exchange rows and columns
        width, height = height, width
    return Facts(kind, width, height, orientation, max(8, bits))


# SOF0–SOF15 but DHT (C4), JPG (C8) and DAC (CC): ITU T.81, table B.1
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes) -> Facts:
    at, orientation = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise _Torn
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # no length follows
            at += 2
            continue
        (size,) = struct.unpack_from(">H", data, at + 2)
        if size < 2 or marker in (0xD9, 0xDA):
            raise _Torn
        if marker in _SOF:
            bits, height, width = struct.unpack_from(">BHH", data, at + 4)
            return _shown("jpeg", width, height, orientation or 1, bits)
        if marker == 0xE1 and orientation is None and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = orientation_of(memoryview(data)[at + 4 : at + 2 + size])
        at += 2 + size
    raise _Torn


def _png(data: bytes) -> Facts:
    if data[12:16] != b"IHDR":
        raise _Torn
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    at, exif = 8, None
    while exif is None and at + 8 <= len(data):
        size, name = _u32(data, at), data[at + 4 : at + 8]
        if name == b"eXIf":
            exif = memoryview(data)[at + 8 : at + 8 + size]
        at += 12 + size
    return _shown("png", width, height, orientation_of(exif), bits)


def _webp(data: bytes) -> Facts:
    name, body = data[12:16], memoryview(data)[20:]
    if name == b"VP8 ":
        if bytes(body[3:6]) != b"\x9d\x01\x2a":
            raise _Torn
        width, height = struct.unpack_from("<HH", body, 6)
        return Facts("webp", width & 0x3FFF, height & 0x3FFF)
    if name == b"VP8L":
        if body[:1] != b"\x2f":
            raise _Torn
        bits = _u32(body, 1, "<")
        return Facts("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if name == b"VP8X":
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
        if len(body) < 10:
            raise _Torn
        return _shown("webp", width, height, orientation_of(_riff_chunk(data, b"EXIF")))
    raise _Torn


def _riff_chunk(data: bytes, wanted: bytes) -> memoryview | None:
    at = 12
    while at + 8 <= len(data):
        size = _u32(data, at + 4, "<")
        if data[at : at + 4] == wanted:
            return memoryview(data)[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
    return None


def _gif(data: bytes) -> Facts:
    return Facts("gif", *struct.unpack_from("<HH", data, 6))


def _bmp(data: bytes) -> Facts:
    if _u32(data, 14, "<") == 12:
        return Facts("bmp", *struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return Facts("bmp", width, abs(height))  # negative: rows from the top


_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS = 0x0100, 0x0101, 0x0102


def _tiff(data: bytes) -> Facts:
    tags = read_tags(data, [_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, ORIENTATION]) or {}
    if _TIFF_WIDTH not in tags or _TIFF_HEIGHT not in tags:
        raise _Torn
    turned = 5 <= tags.get(ORIENTATION, 1) <= 8
    shown = _shown("tiff", tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT], 5 if turned else 1, tags.get(_TIFF_BITS, 1))
    return replace(shown, orientation=1)  # TIFF decoders (libtiff's users, Pillow) turn the pixels themselves


def _avif(data: bytes) -> Facts:
    from PIL.AvifImagePlugin import AvifImageFile

    try:
        with AvifImageFile(BytesIO(data)) as image:  # irot and imir arrive as EXIF orientation
            orientation = int(image.getexif().get(ORIENTATION, 1))
            width, height = image.size
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:  # RuntimeError: libavif's own verdict
        raise _Torn from error
    return _shown("avif", width, height, orientation if 1 <= orientation <= 8 else 1, _av1_bits(data))


def _av1_bits(data: bytes) -> int:
    """From the codec's configuration box (AV1 in ISO BMFF, 2.3.3): high_bitdepth and twelve_bit."""
    at = data.find(b"av1C", 0, 65_536)
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


_READERS: dict[str, Callable[[bytes], Facts]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "bmp": _bmp,
    "tiff": _tiff,
    "avif": _avif,
}
