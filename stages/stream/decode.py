"""Image bytes → uint8 RGB squares of the model's size, in threads, straight into the batch's array.

JPEGs are decoded by libjpeg-turbo at the smallest scale in eighths that is not below the wanted size (unless
`exact`), everything else by Pillow. Decoder and resize release the GIL, so threads do what processes do elsewhere.
Normalisation is the device's: a batch travels as uint8.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from schemas.stream import DecodeConfig, Fit

_JPEG = b"\xff\xd8\xff"
_SERIAL = 4
"""Fewer images than this are not worth waking threads for."""


class UndecodableImage(ValueError):
    """The bytes are not an image that can be decoded."""


class Decoder:
    """Decodes batches; its threads live as long as it does."""

    def __init__(self, config: DecodeConfig) -> None:
        import cv2

        cv2.setNumThreads(1)  # ours are the threads: nested ones fight for the same cores
        self.config = config
        self._pool = ThreadPoolExecutor(config.threads, thread_name_prefix="decode") if config.threads > 1 else None

    def decode(self, images: Sequence[Any]) -> tuple[np.ndarray, dict[int, str]]:
        """`images`: bytes-like each. Returns uint8 (n, size, size, 3), RGB, and index → why, of undecodable ones.

        The rows of undecodable images are undefined.
        """
        out = np.empty((len(images), self.config.size, self.config.size, 3), np.uint8)
        bad: dict[int, str] = {}

        def one(i: int) -> None:
            try:
                decode_into(images[i], out[i], self.config)
            except UndecodableImage as error:
                bad[i] = str(error)

        if self._pool is None or len(images) < _SERIAL:
            for i in range(len(images)):
                one(i)
        else:
            threads = self.config.threads

            def share(first: int) -> None:
                for i in range(first, len(images), threads):
                    one(i)

            list(self._pool.map(share, range(threads)))
        return out, dict(sorted(bad.items()))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def decode_into(data: Any, out: np.ndarray, config: DecodeConfig) -> None:
    """One image into `out`, uint8 (size, size, 3). Raises UndecodableImage."""
    if data is None:
        raise UndecodableImage("the sample has no image")
    picture = _jpeg(data, config) if bytes(data[:3]) == _JPEG else None
    _fitted(picture if picture is not None else _pillow(data), out, config)


def _jpeg(data: Any, config: DecodeConfig) -> np.ndarray | None:
    """The picture by libjpeg-turbo; None for colour spaces that it does not turn into RGB."""
    import simplejpeg

    try:
        if config.exact:
            return simplejpeg.decode_jpeg(data, "RGB")
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=True, min_height=config.size, min_width=config.size)
    except ValueError:
        return None  # CMYK, arithmetic coding, or torn: Pillow decides


def _pillow(data: Any) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                rgba = image.convert("RGBA")
                white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
                return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UndecodableImage(f"{type(error).__name__}: {error}") from error


def _fitted(picture: np.ndarray, out: np.ndarray, config: DecodeConfig) -> None:
    import cv2

    height, width = picture.shape[:2]
    size = config.size
    if config.fit is Fit.center_crop:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
    elif config.fit is Fit.pad:
        scale = size / max(height, width)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        out[:] = 0
        top, left = (size - high) // 2, (size - wide) // 2
        out = out[top : top + high, left : left + wide]
    smaller = picture.shape[0] > out.shape[0] or picture.shape[1] > out.shape[1]
    wanted = (out.shape[1], out.shape[0])
    if picture.shape[:2] == out.shape[:2]:
        out[:] = picture
    else:
        out[:] = cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
