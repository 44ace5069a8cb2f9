"""Masks drawn over their picture, for people: `explain`, the report, and whoever trains a model of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.mask import Mask
from stages.masks.rle import decode

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

PALETTE = ((230, 159, 0), (86, 180, 233), (240, 228, 66), (213, 94, 0), (0, 158, 115), (204, 121, 167), (0, 114, 178))
"""RGB, told apart by colour-blind people too (Okabe and Ito, "Color Universal Design", 2008, without black). The eighth
mask has the first colour again."""
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_CHARACTERS = 28
"""Of a label; the rest is cut."""
_CROWDED = 0.3
"""A text that others would cover by more than this share of it is left out."""

Area = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Look:
    """How masks are drawn."""

    least: int = 480
    """Pixels of the longer side to which a smaller picture is enlarged."""
    most: int = 1280
    """Pixels of the longer side to which a larger one is averaged down."""
    fill: float = 0.35
    """Share of the mask's colour inside of it."""
    best: bool = True
    """Only the best mask of each prompt."""


def overlay(picture: np.ndarray, masks: Sequence[Mask], look: Look | None = None) -> np.ndarray:
    """The picture, uint8 (height, width, 3), with its masks: the same kind of array at another size.

    Contours in distinct colours, small masks over large ones, at each its label and predicted IoU as far as there is
    room for them. Raises ValueError for a mask of a picture of another size.
    """
    look = look or Look()
    height, width = picture.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, look.least), look.most) / longer
    canvas = _scaled(picture, scale)
    shown = [(n, mask) for n, mask in enumerate(m for m in masks if m.best or not look.best)]
    for _, mask in shown:
        if (mask.rle.height, mask.rle.width) != (height, width):
            raise ValueError(f"a mask of {mask.rle.width} × {mask.rle.height} for a picture of {width} × {height}")
    for n, mask in sorted(shown, key=lambda one: -one[1].area):
        _draw(canvas, _pixels(mask, scale, canvas.shape), PALETTE[n % len(PALETTE)], look.fill)
    return _told(_framed(canvas), shown, scale)


def contact_sheet(pictures: Sequence[tuple[np.ndarray, str]], columns: int = 4, cell: int = 320) -> np.ndarray:
    """Pictures with a caption under each, row by row on white: uint8 (height, width, 3); `cell` pixels a column.

    Raises ValueError for none.
    """
    from PIL import Image, ImageDraw

    if not pictures:
        raise ValueError("a sheet of no picture; give one at least")
    columns = max(1, min(columns, len(pictures)))
    size, gap = max(10, cell // 22), max(4, cell // 40)
    tall, rows = cell * 3 // 4 + 3 * size, math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * (tall + gap) + gap), _PAPER)
    draw, font = ImageDraw.Draw(sheet), _font(size)
    for n, (picture, caption) in enumerate(pictures):
        x, y = gap + n % columns * (cell + gap), gap + n // columns * (tall + gap)
        high, wide = picture.shape[:2]
        tile = _scaled(picture, min(cell / wide, (cell * 3 // 4) / high))
        sheet.paste(Image.fromarray(tile), (x + (cell - tile.shape[1]) // 2, y))
        for line, text in enumerate(_wrapped(_plain(caption, 400), draw, font, cell)[:2]):
            draw.text((x, y + cell * 3 // 4 + line * (size + 4) + 2), text, _INK, font)
    return np.asarray(sheet)


def _scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    """A copy at `scale`, no side of it under one pixel; enlarged, its pixels stay squares."""
    import cv2

    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how)


def _pixels(mask: Mask, scale: float, shape: tuple[int, ...]) -> np.ndarray:
    """The mask on the canvas, uint8 of 0 and 1; never empty, however small it becomes."""
    inside = (_scaled(decode(mask.rle).view(np.uint8) * 255, scale) > 127).astype(np.uint8)
    if not inside.any():
        y, x = (int((at + side / 2) * scale) for at, side in ((mask.y, mask.h), (mask.x, mask.w)))
        inside[min(max(y, 0), shape[0] - 1), min(max(x, 0), shape[1] - 1)] = 1
    return inside


def _draw(canvas: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int], fill: float) -> None:
    """Fill, then a dark line with a coloured one on it: seen on dark and on bright ground."""
    import cv2

    where = inside.view(np.bool_)
    canvas[where] = np.round(canvas[where] * (1 - fill) + np.asarray(colour) * fill).astype(np.uint8)
    contours = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    line = max(2, round(max(canvas.shape[:2]) / 480))
    cv2.drawContours(canvas, contours, -1, _INK, line + 3, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, colour, line, cv2.LINE_AA)


def _framed(canvas: np.ndarray) -> np.ndarray:
    """At least large enough for a text, with white to the right and below."""
    height, width = canvas.shape[:2]
    return np.pad(canvas, ((0, max(0, 48 - height)), (0, max(0, 200 - width)), (0, 0)), constant_values=255)


def _told(canvas: np.ndarray, shown: Sequence[tuple[int, Mask]], scale: float) -> np.ndarray:
    """With the text of each mask in its colour; the largest choose their places first."""
    from PIL import Image, ImageDraw

    page = Image.fromarray(canvas)
    draw, font, taken = ImageDraw.Draw(page), _font(max(12, min(20, max(page.size) // 48))), list[Area]()
    for n, mask in sorted(shown, key=lambda one: -one[1].area):
        text = _said(mask)
        area = _place(mask, scale, _extent(text, draw, font), page.size, taken) if text else None
        if area is None:
            continue
        taken.append(area)
        colour = PALETTE[n % len(PALETTE)]
        draw.rectangle(area, colour, _INK)
        bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110
        draw.text((area[0] + 3, area[1] + 1), text, _INK if bright else _PAPER, font)
    return np.array(page)


def _said(mask: Mask) -> str:
    label = _plain(mask.label or "", _CHARACTERS)
    iou = f"{mask.predicted_iou:.2f}" if mask.predicted_iou is not None else ""
    return f"{label} {iou}".strip()


def _place(mask: Mask, scale: float, size: tuple[int, int], page: tuple[int, int], taken: list[Area]) -> Area | None:
    """Where a text of `size` goes: at its mask's box, where it covers least of the others; None where all is full."""
    left, top, right, bottom = (round(v * scale) for v in (mask.x, mask.y, mask.x + mask.w, mask.y + mask.h))
    wide, high = size
    middle = (top + bottom - high) // 2
    places = [(left, top - high), (left, top), (left, bottom - high), (left, bottom), (right - wide, top - high)]
    places += [((left + right - wide) // 2, middle), (right, middle)]
    best: tuple[float, Area] | None = None
    for asked_x, asked_y in places:
        x, y = max(0, min(asked_x, page[0] - wide - 1)), max(0, min(asked_y, page[1] - high - 1))
        area = x, y, x + wide, y + high
        covered = sum(_common(area, other) for other in taken) / (wide * high)
        if best is None or covered < best[0]:
            best = covered, area
    return best[1] if best is not None and best[0] <= _CROWDED else None


def _common(a: Area, b: Area) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _extent(text: str, draw: "ImageDraw", font: Any) -> tuple[int, int]:
    """Width and height of a text's field, with its rim."""
    return math.ceil(draw.textlength(text, font)) + 6, sum(font.getmetrics()) + 3


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _plain(text: str, most: int) -> str:
    """On one line, without what cannot be seen, at most `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _wrapped(text: str, draw: "ImageDraw", font: Any, width: int) -> list[str]:
    """Lines no wider than `width`; a word that is wider has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and draw.textlength(f"{lines[-1]} {word}", font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
