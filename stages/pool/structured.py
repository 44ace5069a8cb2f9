"""Columns that hold lists (boxes, text lines, further captions), as such or as JSON → the Candidate's types."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from schemas.sample import Candidate
from stages.pool.chunk import shown

_FLOAT32_MAX = 3.4028234e38


def parse(role: str, column: Sequence[Any] | None, rows: int, malformed: dict[int, str]) -> pa.Array:
    """One list per row, null where there is none or where it is wrong; that goes to `malformed`. None: all null."""
    kind: Any = Candidate.arrow_schema().field(role).type
    if column is None:
        return pa.nulls(rows, kind)
    out: list[list[Any] | None] = []
    for i, value in enumerate(column):
        try:
            out.append(_list(value, _ITEMS[role]))
        except (ValueError, RecursionError) as error:
            out.append(None)
            malformed.setdefault(i, f"{role}: {error}")
    return pa.array(out, kind)


def _list(value: Any, item: Callable[[Any], Any]) -> list[Any] | None:
    """Raises ValueError saying what is wrong."""
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"not a list: {shown(value)}")
    return [item(one) for one in value]


def _box(box: Any) -> dict[str, Any]:
    return {"label": _text(box, "label", optional=True), **_place(box)}


def _point(point: Any) -> dict[str, Any]:
    return {"label": _text(point, "label", optional=True), "x": _number(point, "x"), "y": _number(point, "y")}


def _text_line(line: Any) -> dict[str, Any]:
    return {"text": _text(line, "text"), **_place(line)}


def _caption(value: Any) -> str:
    return str(_text({"caption": value}, "caption"))


def _text(found: Any, name: str, optional: bool = False) -> str | None:
    if not isinstance(found, dict):
        raise ValueError(f"not an object with {name} and a place: {shown(found)}")
    value = found.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text: {shown(value)}")
    value.encode()  # UnicodeEncodeError, a ValueError, for half a surrogate pair
    return value


def _place(found: dict[str, Any]) -> dict[str, float]:
    sides = {side: _number(found, side) for side in ("x", "y", "w", "h")}
    if sides["w"] < 0 or sides["h"] < 0:
        raise ValueError(f"negative width or height: {shown(found)}")
    return sides


def _number(box: dict[str, Any], side: str) -> float:
    value = box.get(side)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{side} is not a number: {shown(box)}")
    if not math.isfinite(value) or abs(value) > _FLOAT32_MAX:
        raise ValueError(f"{side} is out of range: {shown(box)}")
    return float(value)


_ITEMS: dict[str, Callable[[Any], Any]] = {"boxes": _box, "points": _point, "texts": _text_line, "captions": _caption}
