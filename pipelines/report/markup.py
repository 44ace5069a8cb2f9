"""HTML and SVG made of elements: whatever is not an element is text, and text is escaped."""

import html

from pipelines.show import safe

_VOID, _DRAWN = ("img", "meta"), ("rect", "line")
"""Elements without content: HTML's, which nothing closes, and SVG's, which must be closed."""


class Markup(str):
    """Text that is HTML already, made by `tag` and `join`."""

    __slots__ = ()


def tag(name: str, *content: str | None, **attributes: str | float | None) -> Markup:
    """An element. Content that is no Markup is escaped, None is left out, as is an attribute that is None.

    `class_` is the attribute class, `font_size` is font-size.
    """
    said = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    opened = f"<{name}{''.join(said)}>"
    if name in _VOID:
        return Markup(opened)
    return Markup(f"{opened[:-1]}/>" if name in _DRAWN else f"{opened}{join(*content)}</{name}>")


def join(*content: str | None, by: str = "") -> Markup:
    """Elements and texts one after another."""
    return Markup(
        html.escape(by).join(c if isinstance(c, Markup) else html.escape(c) for c in content if c is not None)
    )


def line(text: str, most: int) -> str:
    """Text from outside on one line, cut at `most` characters, with control characters and overrides made visible."""
    said = " ".join(text[: most * 4].split())
    return safe(said if len(said) <= most and len(text) <= most * 4 else f"{said[: most - 1]}…")


def lines(text: str, most: int) -> str:
    """The same with its line breaks: for an element that shows them."""
    said = text.strip()
    return "\n".join(safe(part) for part in (said if len(said) <= most else f"{said[: most - 1]}…").splitlines())


def number(value: float) -> str:
    """A measured number for a reader: `12,300`, `0.2`, `0.0312`."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def count(rows: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{rows:,} {thing}" if rows == 1 else f"{rows:,} {thing}s"


def share(part: int, whole: int) -> str:
    """`9.5 %`; of nothing, `0 %`. What is not all and not nothing is never said to be it."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.05:
        return "under 0.1 %"
    return "over 99.9 %" if percent > 99.95 and part < whole else f"{percent:.1f} %".replace(".0 %", " %")


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"
