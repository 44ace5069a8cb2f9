"""From a scene to the bytes of an image file: edits that make near duplicates, and the encodings of the web."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import Scene, make_scene

if TYPE_CHECKING:
    from PIL.Image import Image

EXIF_ORIENTATION = 0x0112  # EXIF 2.32, table 4


class Edit(StrEnum):
    """What turns a picture into its near duplicate. Values of issue 2, point 14."""

    none = "none"
    requality = "requality"
    half = "half"
    crop = "crop"
    brighter = "brighter"
    darker = "darker"


class Encoding(StrEnum):
    jpeg = "jpeg"
    jpeg_grey = "jpeg_grey"
    jpeg_cmyk = "jpeg_cmyk"
    jpeg_truncated = "jpeg_truncated"
    png = "png"
    png_alpha = "png_alpha"
    png_16bit = "png_16bit"
    gif_animated = "gif_animated"
    webp = "webp"


MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class Payload:
    """One image file. `orientation` (1–8) is the EXIF tag it carries; its pixels are stored turned accordingly."""

    scene: int
    encoding: Encoding = Encoding.jpeg
    edit: Edit = Edit.none
    orientation: int = 1

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.encoding.split("_", maxsplit=1)[0]]


def encode(payload: Payload) -> bytes:
    """The file's bytes: the same for the same payload under the locked libraries."""
    pixels = edited(render(make_scene(payload.scene)), payload.edit)
    quality = 60 if payload.edit is Edit.requality else 90
    if payload.orientation != 1:
        return _jpeg_with_orientation(_stored(pixels, payload.orientation), payload.orientation)
    encoders = {
        Encoding.jpeg: lambda: _cv2(".jpg", pixels[:, :, ::-1], quality),
        Encoding.jpeg_grey: lambda: _pillow(_image(pixels).convert("L"), "JPEG", quality=quality),
        Encoding.jpeg_cmyk: lambda: _pillow(_image(pixels).convert("CMYK"), "JPEG", quality=quality),
        Encoding.jpeg_truncated: lambda: _halved(_cv2(".jpg", pixels[:, :, ::-1], quality)),
        Encoding.png: lambda: _pillow(_image(pixels), "PNG", compress_level=1),
        Encoding.png_alpha: lambda: _pillow(_with_alpha(pixels, payload.scene), "PNG", compress_level=1),
        Encoding.png_16bit: lambda: _cv2(".png", pixels[:, :, ::-1].astype(np.uint16) * 257, 1),
        Encoding.gif_animated: lambda: _animated(pixels),
        Encoding.webp: lambda: _pillow(_image(pixels), "WEBP", quality=quality, method=0),
    }
    return encoders[payload.encoding]()


def edited(pixels: np.ndarray, edit: Edit) -> np.ndarray:
    """The picture after an edit, uint8 RGB."""
    import cv2

    height, width = pixels.shape[:2]
    if edit is Edit.half:
        return cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    if edit is Edit.crop:
        dx, dy = crop_offsets(width, height)
        return np.ascontiguousarray(pixels[dy : height - dy, dx : width - dx])
    if edit in (Edit.brighter, Edit.darker):
        gain = 1.15 if edit is Edit.brighter else 0.85
        return np.clip(np.rint(pixels * gain), 0, 255).astype(np.uint8)
    return pixels


def crop_offsets(width: int, height: int) -> tuple[int, int]:
    """Pixels taken off at each edge by a crop of 4 % of the area: 1 %.

    PDQ moves by 18 bits (median) under it; a crop of 4 % of each side moves it by 34, past the radius of 31.
    """
    return round(width * 0.01), round(height * 0.01)


def labelled_boxes(payload: Payload, scene: Scene) -> list[dict[str, str | float]]:
    """Boxes of the visible objects in the served picture as shown, pixels."""
    dx, dy = crop_offsets(scene.width, scene.height) if payload.edit is Edit.crop else (0, 0)
    factor = 0.5 if payload.edit is Edit.half else 1.0
    return [
        {
            "label": o.label, "x": (box.x - dx) * factor, "y": (box.y - dy) * factor,
            "w": box.w * factor, "h": box.h * factor,
        }
        for o, box in zip(scene.objects, scene.boxes(), strict=True)
    ]  # fmt: skip


def _stored(shown: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as a camera stores them, so that applying the tag gives `shown`."""
    turns = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(turns[orientation](shown))


def _image(pixels: np.ndarray) -> Image:
    import PIL.Image

    return PIL.Image.fromarray(pixels)


def _pillow(image: Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _cv2(extension: str, bgr: np.ndarray, level: int) -> bytes:
    """JPEG at quality `level`, or PNG at compression `level`."""
    import cv2

    flag = cv2.IMWRITE_JPEG_QUALITY if extension == ".jpg" else cv2.IMWRITE_PNG_COMPRESSION
    done, data = cv2.imencode(extension, np.ascontiguousarray(bgr), [flag, level])
    if not done:
        raise RuntimeError(f"cv2 could not encode {bgr.shape} as {extension}")
    return data.tobytes()


def _jpeg_with_orientation(pixels: np.ndarray, orientation: int) -> bytes:
    import PIL.Image

    tags = PIL.Image.Exif()
    tags[EXIF_ORIENTATION] = orientation
    return _pillow(_image(pixels), "JPEG", quality=90, exif=tags)


def _with_alpha(pixels: np.ndarray, seed: int) -> Image:
    """Objects opaque, the background fading to about half: the content is there composited or not."""
    scene = make_scene(seed)
    fade = np.linspace(140, 255, pixels.shape[1]).astype(np.uint8)[None, :].repeat(pixels.shape[0], axis=0)
    fade[scene.masks().any(axis=0)] = 255
    return _image(np.dstack([pixels, fade]))


def _animated(pixels: np.ndarray) -> bytes:
    """Three frames; the first is the scene."""
    frames = [_image(np.clip(pixels.astype(np.int16) + shift, 0, 255).astype(np.uint8)) for shift in (0, 12, -12)]
    return _pillow(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0)


def _halved(data: bytes) -> bytes:
    return data[: len(data) // 2]
