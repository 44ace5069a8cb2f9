"""Which of the examples held come next, by their lengths alone: pure functions, equal on every rank.

The oldest example is always among the chosen, so none waits longer than the window is wide. `lengths` and `pictures`
are those of the examples held, oldest first; returned are indices, ascending. An example that alone breaks a bound
is alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a row (`packed`) or a batch (`grouped`, `padded`). None: none."""

    tokens: int | None = None
    examples: int | None = None
    pictures: int | None = None


def packed(lengths: Sequence[int], pictures: Sequence[int], bounds: Bounds) -> list[int]:
    """A row: the oldest, and those of the others that leave least of the row empty; of several ways, older ones first.

    A subset sum per row, as in the minimum bin slack heuristic (Gupta and Ho 1999), on sets of reachable sums that are
    bits of a number. Where these have more pictures than may be: first fit, decreasing.
    """
    if bounds.tokens is None:
        return _first_fit(lengths, pictures, bounds)
    chosen = _fullest(lengths, bounds.tokens)
    too_many = bounds.examples is not None and len(chosen) > bounds.examples
    if too_many or not _room(sum(pictures[i] for i in chosen), bounds):
        return _first_fit(lengths, pictures, bounds)
    return chosen


def _fullest(lengths: Sequence[int], most: int) -> list[int]:
    left = most - lengths[0]
    if left <= 0:
        return [0]
    sums, inside = [1], (1 << (left + 1)) - 1  # bit s: some of the examples so far have s tokens together
    for length in reversed(lengths[1:]):
        sums.append((sums[-1] | sums[-1] << length) & inside)
    left, chosen = sums[-1].bit_length() - 1, [0]
    for i in range(1, len(lengths)):
        rest = left - lengths[i]
        if rest >= 0 and sums[-1 - i] >> rest & 1:
            chosen.append(i)
            left = rest
    return chosen


def _first_fit(lengths: Sequence[int], pictures: Sequence[int], bounds: Bounds) -> list[int]:
    """The oldest, then the longest that still fits, and so on; among equals the older (Johnson 1973)."""
    chosen, tokens, seen = [0], lengths[0], pictures[0]
    most = bounds.tokens if bounds.tokens is not None else sum(lengths)
    shortest = min(lengths)
    for i in sorted(range(1, len(lengths)), key=lambda i: (-lengths[i], i)):
        if tokens + shortest > most or len(chosen) == bounds.examples:
            break
        if tokens + lengths[i] <= most and _room(seen + pictures[i], bounds):
            chosen.append(i)
            tokens += lengths[i]
            seen += pictures[i]
    return sorted(chosen)


def grouped(lengths: Sequence[int], pictures: Sequence[int], bounds: Bounds) -> list[int]:
    """A batch of one example to a row: the oldest, and those nearest to it in length; among equals the older."""
    order = sorted(range(1, len(lengths)), key=lambda i: (abs(lengths[i] - lengths[0]), i))
    return sorted(_rows([0, *order], lengths, pictures, bounds))


def padded(lengths: Sequence[int], pictures: Sequence[int], bounds: Bounds) -> list[int]:
    """A batch of one example to a row: the oldest, as many as may be."""
    return _rows(list(range(len(lengths))), lengths, pictures, bounds)


def _rows(order: list[int], lengths: Sequence[int], pictures: Sequence[int], bounds: Bounds) -> list[int]:
    """The first ones in the order, up to the first that does not fit; each costs as much as the longest."""
    chosen = order[:1]
    longest, seen = lengths[chosen[0]], pictures[chosen[0]]
    for i in order[1:]:
        longest, seen = max(longest, lengths[i]), seen + pictures[i]
        too_many = len(chosen) == bounds.examples or not _room(seen, bounds)
        if too_many or (bounds.tokens is not None and longest * (len(chosen) + 1) > bounds.tokens):
            break
        chosen.append(i)
    return chosen


def _room(pictures: int, bounds: Bounds) -> bool:
    return bounds.pictures is None or pictures <= bounds.pictures
