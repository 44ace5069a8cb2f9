"""What a reader hands over: a run of rows of one file, as text, with what was wrong with each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.recipe import ColumnMap

Column = Any
"""A pa.Array. The stubs of pyarrow.compute know fewer signatures than it has."""

ROLES = ("url", "caption", "key", "sha256", "language")
"""The columns read as text."""
STRUCTURED = {
    "boxes": "boxes, list<struct<label, x, y, w, h>>",
    "points": "points, list<struct<label, x, y>>",
    "texts": "lines of text, list<struct<text, x, y, w, h>>",
    "captions": "further captions, list<string>",
}
"""The columns that hold lists, or the same as JSON; with what may be mapped."""


@dataclass
class Chunk:
    """A run of rows, all columns of the same length."""

    rows: int
    text: dict[str, Column]
    """Role → string array. A role that the recipe does not map is absent."""
    structured: Mapping[str, Sequence[object]] = field(default_factory=dict[str, Sequence[object]])
    """Role → per row null, a JSON string, or a list. A role that the recipe does not map is absent."""
    extra: Column | None = None
    """The row's other columns as a JSON object with sorted keys; None when they are not wanted."""
    malformed: dict[int, str] = field(default_factory=dict)
    """Row of this chunk → what is wrong with it, in few words."""


def mapped(columns: ColumnMap) -> dict[str, str]:
    """Role → column name, for the roles that the recipe maps."""
    roles = {role: getattr(columns, role) for role in (*ROLES, *STRUCTURED)}
    return {role: name for role, name in roles.items() if name is not None}


def own(columns: ColumnMap) -> set[str]:
    """Names of the columns that a column of the Candidate keeps. The key has none."""
    return {name for role, name in mapped(columns).items() if role != "key"}


def carried(names: list[str], columns: ColumnMap) -> list[str]:
    """The columns that go into `extra`."""
    kept = own(columns)
    return [name for name in names if name not in kept]


def shown(text: object, limit: int = 80) -> str:
    """A value as evidence: on one line, printable, short."""
    plain = repr(text)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
