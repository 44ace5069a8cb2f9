"""Decoding: one crafted image per cause, hostile bytes, and the decoders against each other on real photographs."""

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stages.download.sniff import EXTENSIONS
from stages.measure.decode import FORMATS, Decoded, Undecodable, decode, oriented
from tests.stages.measure.builders import PHOTOS, encoded, picture

pytestmark = [  # Pillow's remarks on broken metadata and on large promises
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

WHITE, RED = (255, 255, 255), (255, 0, 0)
EXIF_ORIENTATION = 0x0112


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: Pillow writes no 16-bit colour and no false headers. `rows` without filter bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = len(rows) // height if rows else 0
    lines = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height)) if rows else b""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def close(a: np.ndarray, b: np.ndarray, limit: float) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) <= limit


# ---------------------------------------------------------------- formats and modes


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_listed_format_decodes(fmt: str) -> None:
    options = {"lossless": True} if fmt == "WEBP" else {}
    limit = 6.0 if fmt in ("JPEG", "AVIF", "GIF") else 0.0
    found = decode(encoded(picture(), fmt, **options), 1)
    assert close(found.rgb, picture(), limit)
    assert found.rgb.flags.c_contiguous


@pytest.mark.parametrize(
    ("mode", "fmt", "channels"),
    [
        ("1", "PNG", 1), ("L", "PNG", 1), ("L", "JPEG", 1), ("LA", "PNG", 2), ("P", "PNG", 3), ("RGB", "PNG", 3),
        ("RGB", "JPEG", 3), ("RGBA", "PNG", 4), ("CMYK", "JPEG", 4), ("CMYK", "TIFF", 4), ("RGBA", "TIFF", 4),
        ("YCbCr", "JPEG", 3),
    ],
)  # fmt: skip
def test_modes_become_rgb(mode: str, fmt: str, channels: int) -> None:
    stored = Image.fromarray(picture()).convert(mode)
    found = decode(encoded(stored, fmt), 1)
    assert found.channels == channels
    assert close(found.rgb, np.asarray(stored.convert("RGB")), 4.0 if fmt == "JPEG" else 0.0)


def test_cmyk_jpeg_with_inverted_inks_is_not_a_negative() -> None:
    found = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), 1)
    assert close(found.rgb, np.full((8, 8, 3), RED, np.uint8), 4.0)


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    values = np.array([[0, 255, 256, 32768], [65535, 513, 4096, 1]], dtype=np.uint16)
    found = decode(encoded(Image.fromarray(values)), 1)
    assert (found.rgb[:, :, 0] == values >> 8).all()
    assert found.channels == 1


def test_16_bit_colour_keeps_its_upper_byte() -> None:
    data = png(2, 1, 16, 2, struct.pack(">6H", 0x1234, 0x80FF, 0xFFFF, 0, 255, 256))
    assert decode(data, 1).rgb.tolist() == [[[0x12, 0x80, 0xFF], [0, 0, 1]]]


def test_float_tiff_is_refused_because_nothing_says_what_is_white() -> None:
    with pytest.raises(Undecodable, match="mode F"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_lies_under_transparent_pixels_does_not_show(mode: str) -> None:
    if mode == "P":
        stored = Image.new("P", (4, 4), 1)
        stored.putpalette([0, 0, 0, 255, 0, 0])
        data = encoded(stored, transparency=1)
    else:
        data = encoded(Image.new(mode, (4, 4), (255, 0, 0, 0) if mode == "RGBA" else (7, 0)))
    assert (decode(data, 1).rgb == 255).all()


def test_half_transparent_black_is_mid_grey() -> None:
    found = decode(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128))), 1)
    assert found.rgb[0, 0].tolist() == [127, 127, 127]


def test_colour_key_transparency_counts_as_a_channel_and_is_white() -> None:
    found = decode(encoded(Image.new("RGB", (2, 2), RED), transparency=RED), 1)
    assert (found.channels, found.rgb[0, 0].tolist()) == (4, list(WHITE))


@pytest.mark.parametrize(("fmt", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_an_animation_is_its_first_frame(fmt: str, options: dict) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in (RED, (0, 255, 0), (0, 0, 255))]
    data = encoded(frames[0], fmt, save_all=True, append_images=frames[1:], duration=40, **options)
    assert (decode(data, 1).rgb == RED).all()


def test_one_pixel() -> None:
    found = decode(encoded(Image.new("RGB", (1, 1), RED)), 1)
    assert (found.rgb.shape, found.rgb.tolist(), found.channels) == ((1, 1, 3), [[list(RED)]], 3)


def test_memoryview_is_read_like_bytes() -> None:
    data = encoded(picture(), "JPEG")
    assert (decode(memoryview(data), 1).rgb == decode(data, 1).rgb).all()
    assert decode(memoryview(data), 1).stored_bytes == len(data)


# ---------------------------------------------------------------- orientation


def stored_as(orientation: int) -> np.ndarray:
    """The pixels a camera stores so that the picture shows upright under `orientation` (EXIF 2.32, table 6)."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = Image.fromarray(picture())
    return np.asarray(upright.transpose(undo[orientation]) if orientation in undo else upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_in_the_bytes(fmt: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    data = encoded(stored_as(orientation), fmt, exif=exif)
    for asked in (None, orientation):  # as the bytes say, and as the part's index says
        assert close(decode(data, asked).rgb, picture(), 4.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_from_the_index_alone(orientation: int) -> None:
    found = decode(encoded(stored_as(orientation)), orientation)
    assert (found.rgb == picture()).all()
    assert found.rgb.flags.c_contiguous


def test_orientation_1_in_the_index_wins_over_the_bytes() -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    assert decode(encoded(picture(48, 32), exif=exif), 1).rgb.shape == (32, 48, 3)


@pytest.mark.parametrize("orientation", [0, 9, -1, 32767])
def test_orientations_that_do_not_exist_mean_upright(orientation: int) -> None:
    assert (oriented(picture(), orientation) == picture()).all()


def test_broken_exif_beside_a_whole_picture_is_ignored() -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    data = bytearray(encoded(picture(48, 32), "JPEG", exif=exif))
    at = data.index(b"Exif\0\0") + 6
    data[at : at + 20] = b"\xff" * 20
    assert decode(bytes(data), None).rgb.shape == (32, 48, 3)


# ---------------------------------------------------------------- not images


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8\xff", b"<html><img src=x></html>", bytes(5000)])
def test_no_image(data: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(data, 1)


@pytest.mark.parametrize("fmt", ["EPS", "PPM", "JPEG2000", "ICO"])
def test_other_formats_are_not_opened(fmt: str) -> None:
    with pytest.raises(Undecodable, match="known format"):
        decode(encoded(picture(), fmt), 1)


def test_what_the_download_keeps_is_what_is_decoded() -> None:
    assert {f.lower() for f in FORMATS} == set(EXTENSIONS)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.97])
def test_a_picture_that_ends_early_is_no_picture(fmt: str, share: float) -> None:
    options = {"compression": "tiff_lzw"} if fmt == "TIFF" else {}
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(noise, fmt, **options)
    with pytest.raises(Undecodable):
        decode(data[: int(len(data) * share)], 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_data_stop_at_a_false_end_marker(mode: str, progressive: bool) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).convert(mode)
    data = bytearray(encoded(noise, "JPEG", progressive=progressive))
    middle = len(data) // 2
    with pytest.raises(Undecodable):
        decode(bytes(data[:middle]) + b"\xff\xd9", 1)


def test_junk_before_and_after_the_end_of_a_jpeg_is_no_fault() -> None:
    data = encoded(picture(), "JPEG", progressive=True)
    assert (decode(data[:-2] + b"\1\2\3" + data[-2:] + b"trailer", 1).rgb == decode(data, 1).rgb).all()


def test_a_decoders_message_loses_the_objects_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("cannot read\n<_io.BytesIO object at 0x7f756146a570>")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(Undecodable) as caught:
        decode(b"anything", 1)
    assert str(caught.value) == "OSError: cannot read"


# ---------------------------------------------------------------- bombs


def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding() -> None:
    with pytest.raises(Undecodable, match="more pixels"):
        decode(png(60_000, 60_000, 8, 2, b""), 1)


def test_a_jpeg_header_that_promises_too_many_pixels() -> None:
    data = bytearray(encoded(picture(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    with pytest.raises(Undecodable, match="65500x65500 is more pixels than 100000000"):
        decode(bytes(data), 1)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "WEBP"])
def test_the_cap_is_on_width_times_height(fmt: str) -> None:
    data = encoded(picture(48, 32), fmt)
    assert decode(data, 1, max_pixels=48 * 32).rgb.shape == (32, 48, 3)
    with pytest.raises(Undecodable, match="48x32 is more pixels than 1535"):
        decode(data, 1, max_pixels=48 * 32 - 1)


def test_a_cap_above_pillows_own_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses over twice this
    assert decode(encoded(picture(48, 32)), 1, max_pixels=48 * 32).rgb.shape == (32, 48, 3)


def test_pillows_limit_is_not_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    decode(encoded(picture()), 1, max_pixels=5000)
    assert Image.MAX_IMAGE_PIXELS == 1_000_000


# ---------------------------------------------------------------- mutations


@pytest.mark.parametrize("fmt", FORMATS)
def test_mutated_files_end_as_pixels_or_as_undecodable(fmt: str) -> None:
    rng = random.Random(fmt)
    whole = encoded(picture(), fmt)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(min(len(data), 300))] = rng.choice((0, 255, rng.randrange(256)))
        outcomes = [_outcome(bytes(data)) for _ in range(2)]
        assert outcomes[0] == outcomes[1]  # also the message: it goes into the ledger


def _outcome(data: bytes) -> str:
    try:
        found = decode(data, None, max_pixels=1_000_000)
    except Undecodable as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 250
        return str(error)
    assert isinstance(found, Decoded)
    assert found.rgb.dtype == np.uint8
    assert found.rgb.ndim == 3
    return found.rgb.tobytes().hex()


# ---------------------------------------------------------------- real photographs


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="../shared/data/photos is not there")
def test_both_decoders_give_the_same_pixels_on_photographs() -> None:
    for path in sorted(PHOTOS.glob("*.jpg"))[::15]:
        with Image.open(path) as image:
            assert (decode(path.read_bytes(), 1).rgb == np.asarray(image.convert("RGB"))).all()
