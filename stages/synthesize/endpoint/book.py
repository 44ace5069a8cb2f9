"""Batches that were handed in: what the log says about each, so that a killed run finds them again.

Asks that go out in a batch carry its own id (`b`), and a batch leaves one record a step:
`draft` (asks reserved, nothing sent) → `creating` (from here on the provider may work on it) → `made` (its id is known)
→ `done`. The id we give is in the batch's metadata: one whose create answer was lost is found in the provider's list.
A batch belongs to one writer; a dead writer's is taken over (`own`).
"""

from dataclasses import dataclass, field

from schemas.endpoint import Structured
from stages.synthesize.endpoint.cache import Record
from stages.synthesize.endpoint.money import Reservation
from stages.synthesize.endpoint.wire import Tokens


@dataclass(slots=True)
class Batch:
    """One batch and its requests that are not settled yet, in the order of its lines."""

    uid: str
    owner: str = ""
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

    def fold(self, record: Record) -> None:
        """One record of the log."""
        kind, name = record["t"], record["n"]
        if kind == "batch":
            self._step(record)
        elif kind == "ask":
            if "b" in record:
                batch = self.batches.setdefault(record["b"], Batch(record["b"]))
                batch.asks[name] = Reservation(name, record["k"], Tokens(*record["most"]), record["pico"])
                batch.modes[name] = Structured(record["m"])
                self._of[name] = batch.uid
        elif (uid := self._of.pop(name, None)) is not None and uid in self.batches:
            self.batches[uid].asks.pop(name, None)

    def keys(self) -> set[str]:
        """Requests that are in some batch."""
        return {made.key for batch in self.batches.values() for made in batch.asks.values()}

    def _step(self, record: Record) -> None:
        uid = record["n"]
        if record["s"] == "done":
            batch = self.batches.pop(uid, None)
            for name in batch.asks if batch else ():
                self._of.pop(name, None)
            return
        batch = self.batches.setdefault(uid, Batch(uid))
        batch.owner = record.get("w", batch.owner)
        batch.id = record.get("id", batch.id)
        batch.api = record.get("api", batch.api)
        batch.at = record.get("at", batch.at)
        if record["s"] != "own":
            batch.state = record["s"]
