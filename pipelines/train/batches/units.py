"""The run's one sequence of units: a unit is what one rank trains on at once, rows of examples before their pixels.

Unit 0, 1, 2 … is a pure function of the stream's sequence, the batch config and the tokenizer. Every rank makes all of
them, from the text alone, and turns only its own into tensors: so what is packed with what does not depend on ranks,
and where a run stands is the stream's position and the keys of the examples held.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.train.batches.example import Encoder, Example
from pipelines.train.batches.ledger import TrainLedger
from pipelines.train.batches.pack import Bounds, grouped, packed, padded
from pipelines.train.batches.talks import Find, Streamed, talks_of
from schemas.errors import WrongData
from schemas.train_batch import Arrange, TrainRejection

Key = tuple[int, int]


@dataclass(slots=True)
class Unit:
    """Rows of examples, and the rejections since the unit before."""

    rows: list[list[Example]]
    rejected: list[TrainRejection]

    @property
    def counts(self) -> dict[str, int]:
        """Reason → rejections."""
        return dict(sorted(Counter(r.reason for r in self.rejected).items()))


class Units:
    """Iterates over units. `position` and `held` say where it stands between two of them."""

    def __init__(self, encoder: Encoder, ledger: TrainLedger, find: Find) -> None:
        self._encoder, self._ledger, self._find = encoder, ledger, find
        self._config = encoder.config
        self.position = 0
        """Of the next sample that was not read."""
        self.window: list[Example] = []
        self._rejected: list[TrainRejection] = []
        self._missing: list[Key] = []

    @property
    def held(self) -> list[Key]:
        """Keys of the examples read and not yet in a unit, oldest first."""
        return [example.key for example in self.window]

    def trailing(self) -> list[TrainRejection]:
        """Rejections since the last unit."""
        out, self._rejected = self._rejected, []
        return out

    def begin(self, position: int, held: list[Key]) -> int:
        """Stand at `position` with these examples still to be read again; returns the position to read from."""
        self.position, self.window, self._rejected = position, [], []
        self._missing = list(held)
        return min((p for p, _ in held), default=position)

    def of(self, samples: Iterable[Streamed]) -> Iterator[Unit]:
        """The units of samples that begin where `begin` said."""
        coming = iter(samples)
        self._restore(coming)
        left = (sample for sample in coming if sample.position >= self.position)
        while True:
            rows: list[list[Example]] = []
            while len(rows) < self._rows_at_once and self._filled(left):
                rows += self._next()
            if not rows:
                self._ledger.ended()
                return
            yield Unit(rows, self.trailing())

    @property
    def _rows_at_once(self) -> int:
        return self._config.rows if self._config.arrange is Arrange.pack else 1

    def _filled(self, samples: Iterator[Streamed]) -> bool:
        """Reads on until the window is full; False where nothing is left."""
        most = max(self._config.window, self._config.rows)
        while len(self.window) < most:
            sample = next(samples, None)
            if sample is None:
                break
            self._read(sample)
        return bool(self.window)

    def _read(self, sample: Streamed) -> None:
        for talk in talks_of(sample, self._encoder.config, self._find):
            found = talk if isinstance(talk, TrainRejection) else self._encoder.encode(talk)
            if isinstance(found, TrainRejection):
                self._ledger.reject(found)
                self._rejected.append(found)
            else:
                self._ledger.kept()
                self.window.append(found)
        self.position = sample.position + 1

    def _next(self) -> list[list[Example]]:
        """Rows out of the window: one (pack), or those of a batch."""
        config = self._config
        lengths, pictures = [len(e) for e in self.window], [len(e.runs) for e in self.window]
        if config.arrange is Arrange.pack:
            chosen = packed(lengths, pictures, Bounds(config.capacity, None, config.pictures))
        else:
            choose = grouped if config.arrange is Arrange.group else padded
            chosen = choose(lengths, pictures, Bounds(config.tokens, config.rows, config.pictures))
        taken = [self.window[i] for i in chosen]
        gone = set(chosen)
        self.window = [example for i, example in enumerate(self.window) if i not in gone]
        return [taken] if config.arrange is Arrange.pack else [[example] for example in taken]

    def _restore(self, samples: Iterator[Streamed]) -> None:
        """Takes the examples that were held out of the samples before `position`, and no sample more."""
        wanted: dict[int, set[int]] = {}
        for position, number in self._missing:
            wanted.setdefault(position, set()).add(number)
        while wanted and (sample := next(samples, None)) is not None:
            numbers = wanted.pop(sample.position, None)
            if numbers is not None:
                self.window += self._again(sample, numbers)
        if self.held != self._missing:
            lost = sorted(set(self._missing) - set(self.held))[:1]
            raise WrongData(f"the conversation {lost} that the checkpoint holds is not there any more", _REMEDY)

    def _again(self, sample: Streamed, numbers: set[int]) -> list[Example]:
        """Examples that were counted before."""
        talks = [t for t in talks_of(sample, self._config, self._find) if not isinstance(t, TrainRejection)]
        found = [self._encoder.encode(talk) for talk in talks if talk.number in numbers]
        return [example for example in found if isinstance(example, Example)]


_REMEDY = "go back to the data and the tokenizer of the checkpoint, or start anew"


def state_of(units: Units, ledger: TrainLedger) -> dict[str, Any]:
    """JSON: where the sequence of units stands."""
    return {"position": units.position, "held": [list(key) for key in units.held], "ledger": ledger.state_dict()}
