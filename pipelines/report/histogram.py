"""Histograms of a column of a DuckDB relation: numbers only; `figures` draws them. Memory: some thousand bins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_BINS = 36
_COARSE = 2048
_TAIL = 0.005
"""Share of the rows that may lie beyond each end of the figure."""
_ENOUGH = 0.4
"""Share of the whole range that the rows between the ends must fill for the ends to be drawn, too."""
_ROUNDS = 6
_FAR = 1.0
"""A threshold further out than this many widths of the figure is pointed at, not drawn in."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal width over [start, start + step × len(kept)); rows beyond are counted, not drawn."""

    start: float
    step: float
    kept: list[int]
    fallen: list[int]
    whole: bool
    """Every value is a whole number: bins are centred on one, or hold some."""
    rows: int
    """With a finite value."""
    lost: int
    """Without one."""
    below: int
    """Before the first bin."""
    above: int
    """Behind the last one."""
    low: float
    """The smallest finite value."""
    high: float


def bins(
    con: "duckdb.DuckDBPyConnection", relation: str, value: str, falls: str, thresholds: Sequence[float] = ()
) -> Bins | None:
    """The histogram of the SQL expression `value` over `relation` (a name, or a subquery in brackets).

    `falls`: SQL condition of the rows that count as fallen. `thresholds` lie on the edges of bins, as far as the step
    lets them, and inside of the figure where they are not far off. None where no row has a finite value.
    """
    source = f"(SELECT ({value})::DOUBLE AS v, coalesce({falls}, false) AS f FROM {relation})"
    query = f"""SELECT count(*), count(*) FILTER (ok), min(v) FILTER (ok), max(v) FILTER (ok),
                       bool_and(v = round(v)) FILTER (ok)
                FROM (SELECT *, v IS NOT NULL AND isfinite(v) AS ok FROM {source})"""
    every, rows, low, high, whole = one(con, query)
    if not rows:
        return None
    first, last = _middle(con, source, low, high, rows)
    if last - first > _ENOUGH * (high - low):
        first, last = low, high
    near = [t for t in thresholds if first - _FAR * (last - first) <= t <= last + _FAR * (last - first)]
    start, step, number = _edges(min([first, *near]), max([last, *near]), bool(whole), near)
    kept, fallen, below, above = _filled(con, source, start, step, number)
    return Bins(start, step, kept, fallen, bool(whole), rows, every - rows, below, above, low, high)


def _edges(first: float, last: float, whole: bool, near: Sequence[float]) -> tuple[float, float, int]:
    """Start, step and number of bins that hold `first` to `last`."""
    if whole:
        step = float(max(1, math.ceil((math.floor(last) - math.floor(first) + 1) / _BINS)))
        offset = -0.5
    else:
        step = _step((last - first) or abs(first) or 1.0)
        offset = math.fmod(near[0], step) if near else 0.0
    start = math.floor((first - offset) / step) * step + offset
    if start > first or (near and not whole and start >= min(near) - step / 2):
        start -= step  # lost by rounding; or room to see the threshold at the left end
    number = max(1, math.ceil((last - start) / step))
    while start + number * step <= last:
        number += 1
    return start, step, number


def _middle(con: "duckdb.DuckDBPyConnection", source: str, low: float, high: float, rows: int) -> tuple[float, float]:
    """The range with all rows but the outermost: a long tail would leave one bin for all the others."""
    for _ in range(_ROUNDS):
        if not high > low:
            break
        width = (high - low) / _COARSE
        counts = _counted(con, source, low, width, _COARSE)
        seen, first, last = counts.get(-1, 0), 0, _COARSE - 1
        for i in range(_COARSE):
            seen += counts.get(i, 0)
            first = i + 1 if seen <= rows * _TAIL else first
            last = min(last, i) if seen >= rows * (1 - _TAIL) else last
        first = min(first, last)
        if last - first + 1 > _COARSE // 4:
            return low + (first * width if first else 0.0), high if last == _COARSE - 1 else low + (last + 1) * width
        low, high = low + first * width, low + (last + 1) * width
    return low, high


def _counted(con: "duckdb.DuckDBPyConnection", source: str, start: float, step: float, number: int) -> dict[int, int]:
    """Bin → rows; −1 and `number` for what is beyond. The last bin holds its upper end."""
    return {n: kept + fallen for n, (kept, fallen) in _both(con, source, start, step, number, closed=True).items()}


def _filled(
    con: "duckdb.DuckDBPyConnection", source: str, start: float, step: float, number: int
) -> tuple[list[int], list[int], int, int]:
    found = _both(con, source, start, step, number, closed=False)
    kept, fallen = ([found.get(i, (0, 0))[side] for i in range(number)] for side in (0, 1))
    return kept, fallen, sum(found.get(-1, (0, 0))), sum(found.get(number, (0, 0)))


def _both(
    con: "duckdb.DuckDBPyConnection", source: str, start: float, step: float, number: int, closed: bool
) -> dict[int, tuple[int, int]]:
    last = f"WHEN v <= {start + step * number!r} THEN {number - 1}" if closed else ""
    place = f"""CASE WHEN v < {start!r} THEN -1
                     WHEN v < {start + step * number!r} THEN
                          least(greatest(floor((v - {start!r}) / {step!r} + 1e-9)::BIGINT, 0), {number - 1}) {last}
                     ELSE {number} END"""
    query = f"""SELECT {place} AS place, count(*) FILTER (NOT f), count(*) FILTER (f)
                FROM {source} WHERE v IS NOT NULL AND isfinite(v) GROUP BY place"""
    return {int(n): (kept, fallen) for n, kept, fallen in con.execute(query).fetchall()}


def _step(width: float) -> float:
    """1, 2, 2.5 or 5 × a power of ten: about `_BINS` of them fill `width`."""
    least = width / _BINS
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= least * (1 - 1e-9))


def one(con: "duckdb.DuckDBPyConnection", query: str) -> tuple[Any, ...]:
    """The only row of an answer."""
    (row,) = con.execute(query).fetchall()
    return row
