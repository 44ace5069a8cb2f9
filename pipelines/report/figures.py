"""Figures as inline SVG: drawn at the size at which they are read on a narrow screen, and never larger than that.

Two colours, told apart by colour-blind readers and in grey: a light blue for what passes, vermilion for what falls
(Okabe and Ito, "Color Universal Design", 2008).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.bounds import Bound
from pipelines.report.histogram import Bins
from pipelines.report.markup import Markup, count, join, number, tag

PASSES, FALLS, GONE, INK, GRID = "#56b4e9", "#d55e00", "#e6e6e6", "#1a1a1a", "#d0d0d0"
_WIDE, _HIGH = 440, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 46
_TEXT = 13
_LEAST_BAR = 2.5


@dataclass(frozen=True, slots=True)
class Axes:
    """From data to the drawing's pixels."""

    low: float
    high: float
    most: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.low) / (self.high - self.low) * (_WIDE - _LEFT - _RIGHT)

    def y(self, rows: float) -> float:
        return _HIGH - _BOTTOM - rows / self.most * (_HIGH - _TOP - _BOTTOM)


def histogram(of: Bins, title: str, axis: str, bounds: Sequence[Bound] = (), verb: str = "needs") -> Markup:
    """A histogram with its thresholds. `title` is what it shows, for who cannot see it; `axis` the measure and unit,
    `verb` what a threshold is for."""
    number_of = len(of.kept)
    tallest = max(a + b for a, b in zip(of.kept, of.fallen, strict=True))
    ticks = _ticks(0, max(tallest, 1), 4, whole=True)
    axes = Axes(of.start, of.start + of.step * number_of, ticks[-1])
    return tag(
        "svg",
        tag("title", title),
        *(_row_tick(axes, tick) for tick in ticks),
        *(_bar(axes, of, i) for i in range(number_of)),
        tag("line", x1=_LEFT, x2=_WIDE - _RIGHT, y1=axes.y(0), y2=axes.y(0), stroke=INK),
        *(_value_tick(axes, tick) for tick in _value_ticks(of, axes)),
        *_thresholds(axes, of, bounds, verb),
        tag("text", axis, x=(_LEFT + _WIDE - _RIGHT) / 2, y=_HIGH - 6, text_anchor="middle", font_size=_TEXT),
        tag("text", "rows", x=6, y=_TOP - 12, font_size=_TEXT),
        viewBox=f"0 0 {_WIDE} {_HIGH}",
        role="img",
        class_="figure",
    )


def shares(parts: Sequence[tuple[int, str]], whole: int, title: str) -> Markup:
    """One bar whose pieces are shares of `whole`: (rows, colour), from the left; a piece that is there is seen."""
    drawn, at = list[Markup](), 0.0
    for rows, colour in parts:
        width = 100 * rows / whole if whole else 0.0
        seen = max(width, 0.4) if rows else 0.0
        if seen:
            drawn.append(tag("rect", x=min(at, 100 - seen), y=0, width=seen, height=10, fill=colour))
        at += width
    return tag(
        "svg", tag("title", title), *drawn, viewBox="0 0 100 10", preserveAspectRatio="none", role="img", class_="bar"
    )


def swatch(colour: str, said: str) -> Markup:
    """An entry of a legend."""
    box = tag("rect", width=10, height=10, fill=colour)
    return tag("span", tag("svg", box, viewBox="0 0 10 10", class_="swatch", aria_hidden="true"), said)


def _bar(axes: Axes, of: Bins, i: int) -> Markup | None:
    """A bin: what passes below, what falls on it."""
    left, right = axes.x(of.start + i * of.step), axes.x(of.start + (i + 1) * of.step)
    kept, fallen = of.kept[i], of.fallen[i]
    if not kept + fallen:
        return None
    drawn, base = list[Markup](), axes.y(0)
    for rows, colour in ((kept, PASSES), (fallen, FALLS)):
        if rows:
            high = max(axes.y(0) - axes.y(rows), _LEAST_BAR)
            gap = min(1.0, (right - left) / 8)
            drawn.append(
                tag("rect", x=left + gap / 2, y=base - high, width=right - left - gap, height=high, fill=colour)
            )
            base -= high
    first, last = of.start + i * of.step, of.start + (i + 1) * of.step
    span = f"{number(first)} to {number(last)}"
    if of.whole:
        span = number(first + 0.5) if of.step == 1 else f"{number(first + 0.5)} to {number(last - 0.5)}"
    said = f"{span}: {count(kept + fallen, 'row')}" + (f", {fallen:,} of them fall" if fallen else "")
    return tag("g", tag("title", said), *drawn)


def _row_tick(axes: Axes, tick: float) -> Markup:
    y = axes.y(tick)
    return join(
        tag("line", x1=_LEFT, x2=_WIDE - _RIGHT, y1=y, y2=y, stroke=GRID) if tick else None,
        tag("text", _short(tick), x=_LEFT - 6, y=y + 4, text_anchor="end", font_size=_TEXT),
    )


def _value_tick(axes: Axes, tick: float) -> Markup:
    x, y = axes.x(tick), axes.y(0)
    return join(
        tag("line", x1=x, x2=x, y1=y, y2=y + 5, stroke=INK),
        tag("text", _short(tick), x=x, y=y + 18, text_anchor="middle", font_size=_TEXT),
    )


def _thresholds(axes: Axes, of: Bins, bounds: Sequence[Bound], verb: str) -> list[Markup]:
    """A broken line for each, or, for one that is off the figure, an arrow at its edge."""
    drawn: list[Markup] = []
    for n, bound in enumerate(bounds[:2]):
        edge = _edge(of, bound)
        x = min(max(axes.x(edge), _LEFT), _WIDE - _RIGHT)
        off = "" if axes.low <= edge <= axes.high else "◂ " if edge < axes.low else " ▸"
        text = f"{verb} {bound.stays} {number(bound.value)}"
        text = f"{off}{text}" if edge < axes.low else f"{text}{off}"
        anchor = _anchor(x, n, len(bounds))
        if not off:
            dash, y2 = "5 3", axes.y(0)
            drawn.append(tag("line", x1=x, x2=x, y1=_TOP - 6, y2=y2, stroke=INK, stroke_width=2, stroke_dasharray=dash))
        drawn.append(tag("text", text, x=x, y=_TOP - 12, text_anchor=anchor, font_size=_TEXT, font_weight="bold"))
    return drawn


def _anchor(x: float, n: int, several: int) -> str:
    """Away from the figure's edges, and from the other threshold of two."""
    if x < _LEFT + 90:
        return "start"
    if x > _WIDE - 90:
        return "end"
    return "middle" if several == 1 else ("end", "start")[n]


def _edge(of: Bins, bound: Bound) -> float:
    """Where the line stands: among whole numbers, between the last that stays and the first that falls."""
    if not of.whole:
        return bound.value
    if bound.falls in ("<", ">="):
        return math.ceil(bound.value) - 0.5
    return math.floor(bound.value) + 0.5 if bound.falls in ("<=", ">") else bound.value


def _value_ticks(of: Bins, axes: Axes) -> list[float]:
    low, high = (axes.low + 0.5, axes.high - 0.5) if of.whole else (axes.low, axes.high)
    if low == high:
        return [low]
    return [tick for tick in _ticks(low, high, 6, of.whole) if low - 1e-9 <= tick <= high + 1e-9]


def _ticks(low: float, high: float, about: int, whole: bool) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= rough * (1 - 1e-9))
    step = max(1.0, float(math.ceil(step))) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _short(value: float) -> str:
    """A tick's label: `20k` for 20,000."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{round(value, 10):g}"
