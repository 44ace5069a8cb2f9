"""Batches for a training loop: a stream of samples in, tensors of one rank out, and a state that resumes to the bit.

    batches = Batches(Stream(config), tokenizer, SquarePixels(576, DecodeConfig(size=336)), BatchConfig())
    for batch in batches:
        loss = model(**batch.inputs(Form.positions), num_items_in_batch=total).loss
        save(batches.state_dict())

Step t gives rank r of R the unit t·R + r of the run's one sequence (`units.py`). A state taken after a whole step is
that of the whole run: any number of ranks may go on from it. With arrange pack and pad (without `tokens`), R ranks with
n rows see what one rank with R·n rows sees.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from pipelines.train.batches.collate import Batch, Shape, collated
from pipelines.train.batches.encode import IGNORED
from pipelines.train.batches.example import Encoder, Example
from pipelines.train.batches.images import OtherPictures, Pixels
from pipelines.train.batches.ledger import TrainLedger
from pipelines.train.batches.prefetch import prefetched
from pipelines.train.batches.talks import Streamed
from pipelines.train.batches.units import Unit, Units, state_of
from schemas.errors import WrongRequest
from schemas.train_batch import Arrange, BatchConfig, BatchStats, TrainReason, TrainRejection
from stages.stream.batches import BatchReader
from stages.stream.topology import Topology, topology_of_process
from stages.stream.torch_stream import Stream

FORMAT = 1
_WORDS = ("image", "txt", "json")


class Batches:
    """Iterates over the batches of one rank, from where it stands to the stream's end.

    Raises WrongRequest for a tokenizer or template that will not do, WrongData where too much is rejected.
    """

    def __init__(
        self, stream: Stream, tokenizer: Any, pixels: Pixels, config: BatchConfig, topology: Topology | None = None
    ) -> None:
        """The stream's batch size, members and decoding do not matter here; `topology` is by default the process'."""
        self.config, self.stream, self.pixels = config, stream, pixels
        self._topology = topology
        self._encoder = Encoder(tokenizer, pixels, config)
        self.ledger = TrainLedger(config)
        """Of the conversations read so far, ahead of the batches given out; all ranks have the same but for
        bad_picture, which only the rank with the picture sees."""
        self.trailing: list[TrainRejection] = []
        """Once the stream has ended: rejections after the last batch."""
        self._after: dict[str, Any] = {"position": 0, "held": [], "ledger": self.ledger.state_dict()}

    def __iter__(self) -> Iterator[Batch]:
        with closing(prefetched(self._batches(), self.config.ahead)) as batches:
            for batch in batches:
                self._after = batch.after
                yield batch

    def state_dict(self, after: dict[str, Any] | None = None) -> dict[str, Any]:
        """JSON: the state after a batch, given its `after`; by default after the last batch given out."""
        after = self._after if after is None else after
        return {
            "format": FORMAT,
            "identity": self._identity(),
            "units": after,
            "stream": self.stream.state_dict(after["position"]),
        }

    def load_state_dict(self, state: dict[str, Any], allow_changed: bool = False) -> None:
        """Go on after the batch whose state it is. Raises WrongRequest or WrongData where template, tokenizer, config
        or data are not those of the state; `allow_changed`: for the data."""
        if state.get("format") != FORMAT:
            raise WrongRequest(f"the batches' state has format {state.get('format')!r}, not {FORMAT}", "start anew")
        now = self._identity()
        if changed := [name for name in sorted(now) if state["identity"].get(name) != now[name]]:
            raise WrongRequest(
                f"the checkpoint's batches were made otherwise: {', '.join(changed)} changed",
                "go back to what it was, or start anew",
            )
        self.stream.load_state_dict(state["stream"], allow_changed)
        self._after = state["units"]

    # ------------------------------------------------------------------ the run's sequence

    def _batches(self) -> Iterator[Batch]:
        topology = self._topology or topology_of_process()
        self.ledger, self.trailing = TrainLedger(self.config), []
        find = OtherPictures(self.stream.sources).find
        units = Units(self._encoder, self.ledger, find)
        at = self._after
        self.ledger.load_state_dict(at["ledger"])
        begin = units.begin(at["position"], [(p, n) for p, n in at["held"]])
        sequence = units.of(self._samples(begin))
        while step := list(islice(sequence, topology.world)):
            after = state_of(units, self.ledger)
            filler = topology.rank >= len(step)
            batch = self._made(step[0] if filler else step[topology.rank], filler)
            batch.after = after
            yield batch
        self.trailing = units.trailing()

    def _samples(self, begin: int) -> Iterator[Streamed]:
        """All samples from a position on, for every rank."""
        settings = {"members": list(_WORDS), "decode": None, "drop_last": False}
        reader = BatchReader(self.stream.config.model_copy(update=settings), Topology(), begin, self.stream.sources)
        names = [source.label for source in self.stream.sources]
        for read in reader:
            of = read.source.tolist()
            members = zip(*(read.members[name] for name in _WORDS), strict=True)
            for i, (image, txt, json) in enumerate(members):
                yield Streamed(read.start + i, read.sample_id[i], of[i], names[of[i]], image, json, txt)

    def _identity(self) -> dict[str, Any]:
        settings = {f"batch.{name}": value for name, value in self.config.decisive().items()}
        return {**settings, **self._encoder.identity()}

    # ------------------------------------------------------------------ one rank's tensors

    def _made(self, unit: Unit, filler: bool) -> Batch:
        rejected = [] if filler else list(unit.rejected)
        rows, pictures = self._decoded(unit.rows, rejected, filler)
        counts = Unit([], rejected).counts
        batch = collated(rows, Shape(self._encoder.pad_id, self._length()), counts)
        batch.rejected = rejected
        if pictures:
            batch.pixels = self.pixels.tensors(pictures)
        if filler:
            batch.labels.fill_(IGNORED)
            batch.filler, batch.segments = True, []
            batch.stats = _nothing(batch.stats)
        return batch

    def _length(self) -> int | None:
        if not self.config.full_rows:
            return None
        return self.config.capacity if self.config.arrange is Arrange.pack else self.config.max_length

    def _decoded(
        self, rows: list[list[Example]], rejected: list[TrainRejection], filler: bool
    ) -> tuple[list[list[Example]], list[list[Any]]]:
        """Rows without the examples whose pictures do not decode, and the pictures of each of the others that has any,
        in order."""
        encoded = [picture for row in rows for example in row for picture in example.pictures]
        found = iter(self.pixels.decode(encoded) if encoded else [])
        out, pictures = list[list[Example]](), list[list[Any]]()
        for row in rows:
            kept: list[Example] = []
            for example in row:
                mine = [next(found) for _ in example.pictures]
                bad = next((why for why in mine if isinstance(why, str)), None)
                if bad is None:
                    kept.append(example)
                    pictures += [mine] if mine else []
                elif not filler:
                    rejected.append(example.talk.rejected(TrainReason.bad_picture, bad))
                    self.ledger.reject(rejected[-1], undone=True)
            out.append(kept)
        return out, pictures


def _nothing(stats: BatchStats) -> BatchStats:
    """Of a filler: what it computes is padding."""
    size = stats.tokens + stats.padding
    nothing = {name: 0 for name in BatchStats.model_fields if name not in ("rows", "rejected")}
    return BatchStats(**{"rows": stats.rows, "rejected": {}, **nothing, "padding": size})
