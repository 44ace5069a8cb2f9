"""Text from outside on somebody's terminal: captions, URLs and file names may carry escape sequences."""

import math
import unicodedata
from typing import Any


def safe(text: str) -> str:
    """`text` with control characters, line breaks and direction overrides made visible (`\\x1b`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def plain(value: Any) -> Any:
    """A value as JSON takes it: binary as hex, NaN and infinities as null, dates and decimals as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value)
