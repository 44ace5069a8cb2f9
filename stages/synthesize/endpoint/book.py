"""Batches that were handed in: what the log says about each, so that a killed run finds them again.

Asks that go out in a batch carry its own id (`b`), and a batch leaves one record a step:
`draft` (asks reserved, nothing sent) → `creating` (from here on the provider may work on it) → `made` (its id is known)
→ `done`. The id we give is in the batch's metadata: one whose create answer was lost is found in the provider's list.
A batch belongs to one writer; a dead writer's is taken over (`own`, numbered). Logs are read one after the other, so
the records of a batch that was taken over come in any order; the fold is the same for all.
"""

from dataclasses import dataclass, field

from schemas.endpoint import Structured
from stages.synthesize.endpoint.cache import Record
from stages.synthesize.endpoint.money import Reservation
from stages.synthesize.endpoint.wire import Tokens

_STATES = ("draft", "creating", "made")


@dataclass(slots=True)
class Batch:
    """One batch and its requests that are not settled yet, in the order of its lines."""

    uid: str
    owner: str = ""
    turn: int = 0
    """How often it was taken over."""
    state: str = "draft"
    id: str = ""
    api: str = "chat"
    at: int = 0
    """Unix time of `creating`."""
    asks: dict[str, Reservation] = field(default_factory=dict[str, Reservation])
    modes: dict[str, Structured] = field(default_factory=dict[str, Structured])


class Book:
    """The fold of all writers' records; batches that are done are forgotten."""

    def __init__(self) -> None:
        self.batches: dict[str, Batch] = {}
        self._of: dict[str, str] = {}
        self._done: set[str] = set()
        self._early: set[str] = set()
        """Settled before their ask was read."""

    def fold(self, record: Record) -> None:
        """One record of the log."""
        kind, name = record["t"], record["n"]
        if kind == "batch":
            self._step(record)
        elif kind == "ask":
            if "b" in record and record["b"] not in self._done and name not in self._early:
                batch = self.batches.setdefault(record["b"], Batch(record["b"]))
                batch.asks[name] = Reservation(name, record["k"], Tokens(*record["most"]), record["pico"], batch.uid)
                batch.modes[name] = Structured(record["m"])
                self._of[name] = batch.uid
            self._early.discard(name)
        elif "b" in record:
            if self._of.pop(name, None) is None:
                self._early.add(name)
            elif record["b"] in self.batches:
                self.batches[record["b"]].asks.pop(name, None)

    def keys(self) -> set[str]:
        """Requests that are in some batch."""
        return {made.key for batch in self.batches.values() for made in batch.asks.values()}

    def _step(self, record: Record) -> None:
        uid, step = record["n"], record["s"]
        if step == "done":
            self._done.add(uid)
            batch = self.batches.pop(uid, None)
            for name in batch.asks if batch else ():
                self._of.pop(name, None)
            return
        if uid in self._done:
            return
        batch = self.batches.setdefault(uid, Batch(uid))
        if "w" in record and record.get("turn", 0) >= batch.turn:
            batch.owner, batch.turn = record["w"], record.get("turn", 0)
        batch.id = record.get("id", batch.id)
        batch.api = record.get("api", batch.api)
        batch.at = record.get("at", batch.at)
        if step in _STATES and _STATES.index(step) > _STATES.index(batch.state):
            batch.state = step
