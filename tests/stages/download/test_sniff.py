"""Formats by content: sizes and rotation from the header alone, and no header that breaks the reader."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.download.exif import orientation_of, read_tags
from stages.download.reasons import Refusal
from stages.download.sniff import EXTENSIONS, Facts, sniff
from tests.stages.download.web import encoded, pixels

PHOTOS = Path("../shared/data/photos")
KINDS = {"JPEG": "jpeg", "PNG": "png", "GIF": "gif", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff", "AVIF": "avif"}
FILES = {kind: encoded(pixels(61, 37), kind) for kind in KINDS}


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_format_and_size(kind: str, name: str) -> None:
    assert sniff(FILES[kind]) == Facts(name, 61, 37)
    assert name in EXTENSIONS


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0"}])
def test_every_kind_of_webp(options: dict[str, object]) -> None:
    assert sniff(encoded(pixels(61, 37), "WEBP", **options)) == Facts("webp", 61, 37)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_rotation_is_found_and_size_is_as_shown(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = sniff(encoded(pixels(61, 37), kind, exif=exif.tobytes()))
    shown = (37, 61) if orientation >= 5 else (61, 37)
    assert found == Facts(KINDS[kind], *shown, orientation)


def test_tiff_is_turned_by_its_decoders() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert sniff(encoded(pixels(61, 37), "TIFF", exif=exif.tobytes())) == Facts("tiff", 37, 61, 1)


def test_avif_with_a_rotation_property() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert sniff(encoded(pixels(61, 37), "AVIF", exif=exif.tobytes())) == Facts("avif", 37, 61, 6)


def test_bmp_from_the_top_and_from_os2() -> None:
    flipped = bytearray(FILES["BMP"])
    flipped[22:26] = struct.pack("<i", -37)
    assert sniff(bytes(flipped)) == Facts("bmp", 61, 37)
    os2 = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 61, 37, 1, 24) + bytes(50)
    assert sniff(os2) == Facts("bmp", 61, 37)


def test_more_than_eight_bits_are_seen() -> None:
    deep = (pixels(61, 37, channels=1).astype(np.uint16) * 257).squeeze()
    found = sniff(encoded(deep, "PNG"))
    assert found == Facts("png", 61, 37, bits=16)


def test_fill_bytes_and_odd_segments_before_the_frame() -> None:
    jpeg = FILES["JPEG"]
    odd = jpeg[:2] + b"\xff\xff\xff\xfe\x00\x04hi" + b"\xff\x01" + b"\xff\xe1\x00\x08Exif\0\0" + jpeg[2:]
    assert sniff(odd) == Facts("jpeg", 61, 37)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "not_an_image", None),
        (b"<!DOCTYPE HTML><html>", "not_an_image", "html"),
        (b"\n<!-- x --><HTML>", "not_an_image", "html"),
        (b"\xef\xbb\xbf<?xml?><rss>", "not_an_image", "xml"),
        (b'{"error": 1}', "not_an_image", "json"),
        (b"Not found", "not_an_image", "text"),
        (b"\0\1\2\3\4\5\6\7", "not_an_image", None),
        (b"PK\3\4xxxx", "not_an_image", "zip"),
        (b"<svg xmlns=''/>", "unsupported_format", "svg"),
        (b"<?xml version='1.0'?><!DOCTYPE svg><svg/>", "unsupported_format", "svg"),
        (b"%PDF-1.7", "unsupported_format", "pdf"),
        (b"8BPS\0\1", "unsupported_format", "psd"),
        (b"\0\0\1\0\1\0", "unsupported_format", "ico"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format", "heif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "unsupported_format", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "unsupported_format", "video"),
        (b"\xff\xd8\xff\xe0", "not_an_image", "jpeg with a broken header"),
        (b"\xff\xd8\xff\xda\0\4\0\0", "not_an_image", "jpeg with a broken header"),
        (FILES["PNG"][:20], "not_an_image", "png with a broken header"),
        (b"GIF89a\0", "not_an_image", "gif with a broken header"),
        (b"GIF89a\0\0\1\0", "not_an_image", "gif with an impossible size"),
        (FILES["AVIF"][:60], "not_an_image", "avif with a broken header"),
        (b"II*\0\xff\xff\xff\xff", "not_an_image", "tiff with a broken header"),
    ],
)
def test_what_is_no_image_is_told_apart(data: bytes, reason: str, detail: str | None) -> None:
    found = sniff(data)
    assert isinstance(found, Refusal)
    assert (found.reason, found.detail) == (reason, detail)


def _png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    idat = zlib.compress(bytes(1 << 20))
    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return body + struct.pack(">I", len(idat)) + b"IDAT" + idat + struct.pack(">I", zlib.crc32(b"IDAT" + idat))


def _webp_canvas(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little") + bytes(40)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("bomb", [_png_header(100_000, 100_000), _webp_canvas(16_000, 16_000)])
def test_a_bomb_is_measured_without_room_for_its_pixels(bomb: bytes) -> None:
    tracemalloc.start()
    found = sniff(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, Facts)
    assert found.width * found.height > 200_000_000
    assert peak < 1_000_000


@pytest.mark.parametrize("side", [0, 2**31, 2**32 - 1])
def test_an_impossible_size_is_refused(side: int) -> None:
    assert isinstance(sniff(_png_header(side, 10)), Refusal)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=12),
    st.integers(0, 500),
)
def test_no_damage_to_a_header_breaks_the_reader(kind: str, edits: list[tuple[int, int]], length: int) -> None:
    data = bytearray(FILES[kind])
    for at, value in edits:
        data[at % len(data)] = value
    for candidate in (bytes(data), bytes(data[:length])):
        assert isinstance(sniff(candidate), Facts | Refusal)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_break_the_tag_reader(tail: bytes) -> None:
    for order in (b"II*\0", b"MM\0*"):
        orientation = orientation_of(b"Exif\0\0" + order + tail)
        assert 1 <= orientation <= 8
        read_tags(order + tail, [0x0112, 0x0100])


def test_photographs_agree_with_pillow() -> None:
    if not PHOTOS.is_dir():
        pytest.skip(f"{PHOTOS} is not here")
    for path in sorted(PHOTOS.glob("*.jpg"))[:40]:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            orientation = image.getexif().get(0x0112, 1)
            size = image.size if orientation < 5 else image.size[::-1]
        assert sniff(data) == Facts("jpeg", *size, orientation)
