"""A picture as a chat message holds it: upright, no larger than asked, JPEG, as a data URL."""

import base64
import math
import threading
from typing import Any

from stages.measure.decode import MAX_PIXELS, TooManyPixels, decode

QUALITY = 90
"""JPEG quality, 1–100."""
_LARGE = 16_000_000  # pixels; a few images of this size at once are no harm
_LOW_MOST = 512
"""OpenAI's `detail: low` shows the model 512 × 512 pixels (platform.openai.com/docs/guides/images-vision)."""


class Pictures:
    """Makes pictures of at most `size` pixels on the longer side, from several threads; huge ones one at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._one_large = threading.Lock()

    def data_url(self, data: bytes | memoryview) -> str:
        """`data` (any format that the measures decode) with its EXIF orientation applied, not enlarged.

        Always encoded anew, so that nothing of a file's metadata (place, owner) leaves. Raises Undecodable."""
        try:
            return _data_url(data, self.size, _LARGE)
        except TooManyPixels:
            with self._one_large:
                return _data_url(data, self.size, MAX_PIXELS)


def _data_url(data: bytes | memoryview, size: int, most: int) -> str:
    import cv2

    rgb = decode(data, None, most).rgb
    height, width, _ = rgb.shape
    scale = size / max(height, width)
    if scale < 1:
        to = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = cv2.resize(rgb, to, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def with_pictures(messages: list[dict[str, Any]], urls: list[str], size: int) -> list[dict[str, Any]]:
    """The messages with pictures before the last one's text; several are numbered."""
    detail = "low" if size <= _LOW_MOST else "high"
    parts: list[dict[str, Any]] = []
    for number, url in enumerate(urls, 1):
        if len(urls) > 1:
            parts.append({"type": "text", "text": f"{number}."})
        parts.append({"type": "image_url", "image_url": {"url": url, "detail": detail}})
    last = messages[-1]
    return [*messages[:-1], {**last, "content": [*parts, {"type": "text", "text": last["content"]}]}]


def tokens(width: int, height: int, size: int) -> int:
    """What OpenAI counts for a picture of `width` × `height` sent by `data_url`: 85, and 170 for each tile of 512
    pixels after the shorter side was cut to 768 (GPT-4o; same page). Others count otherwise."""
    if size <= _LOW_MOST or min(width, height) <= 0:
        return 85
    scale = min(1.0, size / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
