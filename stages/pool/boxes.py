"""Boxes of a row: list<struct<label, x, y, w, h>> or the same as a JSON string → the Candidate's type."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from schemas.sample import Candidate
from stages.pool.chunk import shown

BOXES: Any = Candidate.arrow_schema().field("boxes").type
_FLOAT32_MAX = 3.4028234e38


def parse(column: Sequence[Any], malformed: dict[int, str]) -> pa.Array:
    """One list of boxes per row, null where there is none or where it is wrong; that goes to `malformed`."""
    out: list[list[dict[str, Any]] | None] = []
    for i, value in enumerate(column):
        try:
            out.append(_boxes(value))
        except (ValueError, RecursionError) as error:
            out.append(None)
            malformed.setdefault(i, f"boxes: {error}")
    return pa.array(out, BOXES)


def _boxes(value: Any) -> list[dict[str, Any]] | None:
    """Raises ValueError saying what is wrong."""
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"not a list: {shown(value)}")
    return [_box(box) for box in value]


def _box(box: Any) -> dict[str, Any]:
    if not isinstance(box, dict):
        raise ValueError(f"not an object with label, x, y, w, h: {shown(box)}")
    label = box.get("label")
    if label is not None and not isinstance(label, str):
        raise ValueError(f"label is not text: {shown(label)}")
    if label is not None:
        label.encode()  # UnicodeEncodeError, a ValueError, for half a surrogate pair
    sides = {side: _number(box, side) for side in ("x", "y", "w", "h")}
    if sides["w"] < 0 or sides["h"] < 0:
        raise ValueError(f"negative width or height: {shown(box)}")
    return {"label": label, **sides}


def _number(box: dict[str, Any], side: str) -> float:
    value = box.get(side)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{side} is not a number: {shown(box)}")
    if not math.isfinite(value) or abs(value) > _FLOAT32_MAX:
        raise ValueError(f"{side} is out of range: {shown(box)}")
    return float(value)
