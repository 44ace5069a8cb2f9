"""Image bytes → pixels: hostile bytes in, RGB or `Undecodable` out, never a partial picture and never another error.

JPEG goes through libjpeg-turbo (simplejpeg), everything else and the odd JPEGs (CMYK, rare subsamplings) through
Pillow. Both let go of the GIL while they decode. What is stated once for all measures:

- EXIF orientation is applied; alpha is composited on white (open_clip and Pillow's `convert` would show whatever
  colour lies under transparent pixels); of an animation, the first frame is taken;
- 16 bits are cut to the upper 8; grey, palette, YCbCr and CMYK become RGB as Pillow converts them; embedded colour
  profiles are not applied (open_clip does not either);
- an image that ends early is undecodable. libjpeg's warnings about data that are not needed are ignored.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

MAX_PIXELS = 100_000_000
"""Default cap on width × height; the download's own default."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What Pillow may open: what the download keeps. Some of its other formats run programs (EPS) or allocate at once."""

# What Pillow and the libraries under it raise on bytes that are not what they say; it has no common base class.
# KeyError and AttributeError are left out: 20,000 mutated files raised neither, and a bug of ours would.
_DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, RuntimeError, EOFError, OverflowError, IndexError, TypeError, struct.error,
    zlib.error,
)  # fmt: skip

# libjpeg warnings that leave the picture whole (jerror.h): junk before the end marker, header oddities.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0xd9|Invalid SOS parameters|Unknown Adobe color transform|unknown JFIF revision"
)
# libjpeg warnings after which part of the picture is made up.
_BROKEN = re.compile(r"Premature end of JPEG|Corrupt JPEG data|Inconsistent progression|Unsupported marker")


class Undecodable(ValueError):
    """These bytes are no whole image. The message is short, and the same for the same bytes."""


class TooManyPixels(Undecodable):
    """The header promises more pixels than are allowed; nothing was decoded."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded image."""

    rgb: np.ndarray
    """uint8, height × width × 3, C-contiguous, as shown (orientation applied, alpha on white)."""
    channels: int
    """As stored: 1 grey, 2 grey + alpha, 3 colour, 4 colour + alpha or CMYK; a palette counts as its colours."""
    stored_bytes: int
    """Length of the encoded image."""


def decode(data: "bytes | memoryview", orientation: int | None, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The image in `data`. `orientation` is the EXIF value still to be applied; None: as the bytes themselves say.

    Raises Undecodable, and nothing else for whatever `data` holds.
    """
    jpeg = _turbo(data, max_pixels) if bytes(data[:3]) == b"\xff\xd8\xff" else None
    if jpeg is None:
        rgb, channels, upright = _pillow(data, max_pixels)
    else:
        (rgb, channels), upright = jpeg, False
    own = 1 if upright else _exif_orientation(data) if orientation is None else orientation
    return Decoded(oriented(rgb, own), channels, len(data))


def libraries() -> dict[str, str]:
    """The decoders whose version can change a pixel: part of every pixel measure's identity."""
    return {name: version(name) for name in ("pillow", "simplejpeg")}


def oriented(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """`rgb` (H×W×3) as shown under an EXIF orientation 1–8 (EXIF 2.32, tag 0x0112); other values mean 1."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)


def _turbo(data: "bytes | memoryview", max_pixels: int) -> tuple[np.ndarray, int] | None:
    """A JPEG through libjpeg-turbo; None where Pillow has to decide or to convert."""
    import simplejpeg

    try:
        header: Any = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: a subsampling that simplejpeg has no name for
        return None
    height, width, space, _ = header
    _check_size(width, height, max_pixels)
    if space in ("CMYK", "YCCK"):
        _turbo_pixels(data, "CMYK")  # only to find out whether it is whole: Pillow knows about inverted inks
        return None
    rgb = _turbo_pixels(data, "RGB")
    return None if rgb is None else (rgb, 1 if space == "Gray" else 3)


def _turbo_pixels(data: "bytes | memoryview", space: str) -> np.ndarray | None:
    """Raises Undecodable for a picture that is not whole; None where libjpeg-turbo cannot say."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, space)
    except ValueError as error:
        warning = str(error)
        if _BROKEN.search(warning) and not _HARMLESS.search(warning):
            raise Undecodable(f"jpeg: {_tidy(error)}") from error
    if not _HARMLESS.search(warning):
        return None
    try:
        return simplejpeg.decode_jpeg(data, space, strict=False)
    except ValueError:
        return None


def _pillow(data: "bytes | memoryview", max_pixels: int) -> tuple[np.ndarray, int, bool]:
    """(RGB, channels, whether it is upright already) through Pillow."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit is only ever raised to ours, which is checked below
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size, max_pixels)
            image.load()
            # Pillow turns TIFF upright by itself while loading.
            return _to_rgb(image), _channels(image), image.format == "TIFF"
    except Undecodable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Undecodable("no image in a known format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(f"more pixels than {max_pixels}") from error
    except _DECODER_ERRORS as error:
        raise Undecodable(f"{type(error).__name__}: {_tidy(error)}") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"{width}x{height} is more pixels than {max_pixels}")


def _to_rgb(image: "PilImage") -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.clip(np.asarray(image), 0, 65535) >> 8  # 16-bit grey: Pillow's convert would clip at 255
        image = Image.fromarray(grey.astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Undecodable(f"mode {image.mode} says nothing about what is white")
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    layered = image.convert("RGBA")
    shown = Image.new("RGB", image.size, (255, 255, 255))
    shown.paste(layered, mask=layered.getchannel("A"))
    return np.asarray(shown)


def _channels(image: "PilImage") -> int:
    if image.mode in ("P", "PA"):
        return 4 if image.has_transparency_data else 3
    bands = len(image.getbands())
    return bands + 1 if "transparency" in image.info and bands in (1, 3) else bands


def _exif_orientation(data: "bytes | memoryview") -> int:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            value: Any = image.getexif().get(0x0112, 1)
    except (*_DECODER_ERRORS, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return 1  # broken EXIF beside a whole picture
    return value if isinstance(value, int) else 1


def _tidy(error: Exception) -> str:
    """The message without object addresses, on one line, at most 160 characters."""
    return re.sub(r"\s+", " ", re.sub(r"<[^<>]*>", "", str(error))).strip()[:160]
