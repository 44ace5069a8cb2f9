"""Image bytes → uint8 RGB squares of the model's size, in threads, straight into the batch's array.

JPEGs are decoded by libjpeg-turbo at the smallest scale in eighths that is not below the wanted size; everything else,
and everything when `exact`, in full by the decoder of the measures. Decoding and resizing release the GIL, so threads
do what processes do elsewhere. Normalisation is the device's: a batch travels as uint8.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from schemas.stream import DecodeConfig, Fit
from stages.download.exif import orientation_of
from stages.measure.decode import Undecodable, decode, oriented

_JPEG = b"\xff\xd8\xff"
_HEAD = 4096  # cameras write EXIF first; its directory of tags comes before anything long
_SERIAL = 4
"""Fewer images than this are not worth waking threads for."""


def alone() -> None:
    """One thread for OpenCV in this process: ours are the threads, and nested ones fight for the same cores.

    To be called before a fork, too: where OpenCV's own threads run, a forked process that changes their number waits
    for ever, for threads that the fork did not copy.
    """
    import cv2

    cv2.setNumThreads(1)


class Decoder:
    """Decodes batches; its threads live as long as it does."""

    def __init__(self, config: DecodeConfig) -> None:
        alone()
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
            except Undecodable as error:
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
    """One image into `out`, uint8 (size, size, 3), as shown: EXIF orientation applied, alpha on white.

    Raises Undecodable.
    """
    if data is None:
        raise Undecodable("the sample has no image")
    picture = None if config.exact or bytes(data[:3]) != _JPEG else _scaled(data, config.size)
    _fitted(decode(data, None).rgb if picture is None else picture, out, config)


def _scaled(data: Any, size: int) -> np.ndarray | None:
    """A JPEG at the smallest scale whose sides are not below `size`; None where the exact decoder has to look."""
    import simplejpeg

    try:
        picture = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, min_height=size, min_width=size)
    except (ValueError, KeyError):  # torn, CMYK, or a subsampling that simplejpeg has no name for
        return None
    head = bytes(data[:_HEAD])
    exif = head.find(b"Exif\0\0")
    return picture if exif < 0 else oriented(picture, orientation_of(head[exif:]))


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
