"""Resize on download, through img2dataset's own Resizer: one idea of what `center_crop` means.

The same bytes as that Resizer gives, with four exceptions, each where it gives another picture than the one fetched or
endangers the process: EXIF orientation is applied first; images of more than 8 bits per channel are scaled to 8 (it
clips them, so that they turn white); transparency of large images is laid on white in strips (it needs 50 bytes a
pixel); and its muting of stdout and stderr by swapping file descriptors is left out (two threads that do so at once
leave the process mute).
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

from schemas.recipe import ResizeConfig
from stages.download.reasons import DownloadReason, Refusal
from stages.download.sniff import Facts, sniff

_LARGE = 16_000_000  # pixels; above it the Resizer's float arithmetic on transparency takes gigabytes
_STRIP = 256  # rows
_QUIET = "NO_ALBUMENTATIONS_UPDATE"


@dataclass(frozen=True, slots=True)
class Resized:
    """The bytes to store and what they are."""

    data: bytes
    facts: Facts


class Resize:
    """A loaded Resizer. Safe to call from several threads."""

    def __init__(self, config: ResizeConfig) -> None:
        """Loads OpenCV and albumentations (seconds)."""
        self._config = config
        self._resizer = load_resizer().Resizer(
            image_size=config.size,
            resize_mode=config.mode,
            resize_only_if_bigger=config.only_if_bigger,
            upscale_interpolation=config.upscale,
            downscale_interpolation=config.downscale,
            encode_quality=config.quality,
            encode_format=config.format,
            skip_reencode=config.skip_reencode,
        )

    def __call__(self, data: bytes, facts: Facts) -> Resized | Refusal:
        """The resized image, or too_small, bad_aspect (by the header) or undecodable."""
        short, long = sorted((facts.width, facts.height))
        if short < self._config.min_size:
            return Refusal(DownloadReason.TOO_SMALL, float(short), float(self._config.min_size))
        if long / short > self._config.max_aspect:
            return Refusal(DownloadReason.BAD_ASPECT, long / short, self._config.max_aspect)
        prepared = self._prepared(data, facts)
        if isinstance(prepared, Refusal):
            return prepared
        return self._resized(prepared, facts, untouched=prepared is data)

    def _resized(self, data: bytes, facts: Facts, untouched: bool) -> Resized | Refusal:
        stored, _, _, width, height, error = self._resizer(BytesIO(data))
        if error == "Image decoding error":
            return _undecodable()
        if error is not None and error.startswith("OpenCV("):
            return _undecodable("refused by OpenCV")
        if error is not None:
            raise RuntimeError(f"img2dataset's Resizer failed: {error}")
        if (width, height) != (facts.width, facts.height):
            return _undecodable("another size than the header says")
        if untouched and stored == data:
            return Resized(data, facts)
        found = sniff(stored)
        if isinstance(found, Refusal):
            raise RuntimeError(f"img2dataset's Resizer wrote {found.detail}")
        return Resized(stored, found)

    def _prepared(self, data: bytes, facts: Facts) -> bytes | Refusal:
        """What to hand to the Resizer: `data` itself, or its pixels as BMP after what the Resizer gets wrong."""
        large = facts.width * facts.height > _LARGE
        plain = facts.orientation == 1 and facts.bits == 8
        if plain and not large:
            return data
        import cv2

        pixels = _decoded(data)
        if pixels is None:
            return _undecodable()
        if plain and pixels.shape[2:] != (4,):
            return data
        pixels = _eight_bits(pixels, facts)
        if pixels is None:
            return _undecodable("neither 8 nor 16 bits")
        pixels = turned(_on_white(pixels), facts.orientation)
        return cv2.imencode(".bmp", pixels)[1].tobytes()


def _undecodable(detail: str | None = None) -> Refusal:
    return Refusal(DownloadReason.UNDECODABLE, detail=detail)


def _decoded(data: bytes) -> Any:
    """Pixels as stored (BGR or BGRA or grey, orientation not applied); None where OpenCV cannot."""
    import cv2
    import numpy as np

    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _eight_bits(pixels: Any, facts: Facts) -> Any:
    """`pixels` as uint8; None where they are not 8 or 16 bits wide."""
    import numpy as np

    if pixels.dtype == np.uint16:
        most = (1 << facts.bits) - 1 if facts.format == "avif" else 65_535  # OpenCV widens the others' values
        scaled = (pixels.astype(np.uint32) * 255 + most // 2) // most
        return scaled.clip(0, 255).astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else None


def _on_white(pixels: Any) -> Any:
    """Transparency laid on white, with the Resizer's arithmetic, a strip of rows at a time."""
    import numpy as np

    if pixels.shape[2:] != (4,):
        return pixels
    out = np.empty((*pixels.shape[:2], 3), np.uint8)
    for y in range(0, len(pixels), _STRIP):
        strip = pixels[y : y + _STRIP]
        alpha = strip[:, :, 3, np.newaxis]
        out[y : y + _STRIP] = np.rint((alpha / 255 * strip[..., :3] + 255 - alpha).clip(0, 255))
    return out


def turned(pixels: Any, orientation: int) -> Any:
    """`pixels` (H × W, or H × W × C) as shown: EXIF 2.32, tag 0x0112."""
    import numpy as np

    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def load_resizer(mute: bool = False) -> ModuleType:
    """img2dataset's resizer.py as a module of our own: without the rest of img2dataset (seconds, and wandb).

    `mute`: with its swapping of file descriptors, as it comes.
    """
    package = importlib.util.find_spec("img2dataset")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("img2dataset is not installed")
    path = Path(package.submodule_search_locations[0]) / "resizer.py"
    spec = importlib.util.spec_from_file_location("_img2dataset_resizer", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    with _no_update_check():
        spec.loader.exec_module(module)
    if not mute:
        module.SuppressStdoutStderr = nullcontext  # type: ignore[attr-defined]
    return module


@contextmanager
def _no_update_check() -> Iterator[None]:
    """albumentations asks PyPI for a newer version when it is imported, unless told not to."""
    before = os.environ.get(_QUIET)
    os.environ[_QUIET] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_QUIET]
        else:
            os.environ[_QUIET] = before
