"""TIFF's directory of tags: EXIF blocks and TIFF files both are one. Read here without touching a pixel."""

import struct
from collections.abc import Iterable

_SHORT, _LONG = 3, 4
ORIENTATION = 0x0112


def read_tags(data: bytes | memoryview, wanted: Iterable[int]) -> dict[int, int] | None:
    """First values (SHORT or LONG) of the wanted tags in the first directory; None where `data` is no TIFF.

    A tag whose entry is torn or of another type is left out.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return None
    magic, start = struct.unpack_from(f"{order}HI", data, 2)
    if magic != 42 or start + 2 > len(data):
        return None
    wanted = set(wanted)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    found: dict[int, int] = {}
    for i in range(min(count, (len(data) - start - 2) // 12)):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, start + 2 + 12 * i)
        if tag in wanted and values >= 1 and kind in (_SHORT, _LONG):
            value = _value(data, start + 2 + 12 * i + 8, order, kind, values)
            if value is not None:
                found.setdefault(tag, value)
    return found


def _value(data: bytes | memoryview, at: int, order: str, kind: int, values: int) -> int | None:
    size = 2 if kind == _SHORT else 4
    if values * size > 4:  # the values lie elsewhere
        (at,) = struct.unpack_from(f"{order}I", data, at)
    if at + size > len(data):
        return None
    return int(struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", data, at)[0])


def orientation_of(exif: bytes | memoryview | None) -> int:
    """Orientation (1–8) of an EXIF block, with or without its `Exif\\0\\0` prefix; 1 where it says none."""
    if exif is None:
        return 1
    if bytes(exif[:6]) == b"Exif\0\0":
        exif = exif[6:]
    value = (read_tags(exif, [ORIENTATION]) or {}).get(ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1
