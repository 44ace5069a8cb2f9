"""How many requests an endpoint takes at a time: found by growing, remembered, probed rarely.

Doubled while nothing is refused (slow start, RFC 5681). A round is what leaves under one level, and a level is judged
only by what left under it. Of the `at` requests in flight when the first one of a round is refused, those not refused
are what the server takes: the level becomes `at` less the round's refusals. Beyond a level that was refused, a step of
1/16 is tried after `patience` rounds; a refused probe doubles the patience, one that holds doubles the step, so that a
server that got faster is followed. Growth only while the limit is what holds us back (Netflix concurrency-limits,
AIMDLimit). Halving at a refusal and growing by 1 a reply (AIMD, Chiu and Jain 1989) was measured and lost:
docs/decisions/2026-11-22-synthesize.md.
"""

import math

PATIENCE, PATIENCE_MOST = 4, 32
"""Rounds between probes: 1/16 of a level refused in 4 rounds is 1.6 % of its requests."""
_STEP = 16
_AGAIN = 0.7
"""A level that is refused before it held for a round was taken far too high: what waits in our own process counts as in
flight, and was not at the server."""
_NEAR = 0.8
"""Below this share of the level that was refused, growth is fast (CUBIC's remembered maximum, RFC 9438)."""
_FLOOR = 4
"""One round of refusals divides a level by this at most."""


class Level:
    """The limit of requests in flight for one endpoint. Times do not matter to it, only what came of which request."""

    def __init__(self, first: int, most: int) -> None:
        self.limit = min(first, most)
        self.round = 0
        self._most = most
        self._good = 0
        """Replies to what left under this level."""
        self._knee: float = math.inf
        """The level that was refused last."""
        self._at = self._refused = 0
        self._patience = PATIENCE
        self._step = 0
        self._probing = False

    def held(self, round: int, used: int) -> None:
        """A reply; `used`: in flight as it came."""
        if round != self.round or used * 2 < self.limit:
            return
        self._good += 1
        if self._good >= self._needed() and self.limit < self._most:
            self._raise()

    def refused(self, round: int, used: int) -> None:
        """A 429."""
        if round != self.round:
            self._refused += 1
            if self._refused < self._at:
                self.limit = max(1, self._at // _FLOOR, min(self.limit, self._at - self._refused))
                self._knee = self.limit + 1
            return
        again = not self._probing and self._knee < math.inf and self._good < self.limit
        if self._probing:
            self._patience = min(self._patience * 2, PATIENCE_MOST)
        self._lower(used, _AGAIN if again else 1.0)

    def halve(self, round: int, used: int) -> None:
        """A timeout or 503: the server is slow or failing, and every request less helps."""
        if round == self.round:
            self._lower(used, 0.5)

    def _needed(self) -> float:
        if self._knee == math.inf or self.limit < _NEAR * self._knee:
            return self.limit / 2
        return self.limit if self._step else self.limit * self._patience

    def _raise(self) -> None:
        if self._knee == math.inf:
            self.limit *= 2
        elif self.limit < _NEAR * self._knee:
            self.limit = min(math.ceil(self.limit * 1.25), max(self.limit + 1, int(_NEAR * self._knee)))
        else:
            if self._probing:
                self._patience = PATIENCE
            self._step = max(1, self._step * 2, self.limit // _STEP)
            self.limit += min(self._step, self.limit)
            self._probing = True
        self.limit = min(self.limit, self._most)
        self.round += 1
        self._good = 0

    def _lower(self, used: int, factor: float) -> None:
        self._at = min(self.limit, used)
        self._knee = self._at
        self._refused = 1
        self.limit = max(1, min(self._at - 1, int(self._at * factor)))
        self.round += 1
        self._good = self._step = 0
        self._probing = False
