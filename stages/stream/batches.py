"""Batches of a stream, in plain Python and numpy: what torch, Ray Train and Arrow readers are made of.

    for batch in BatchReader(StreamConfig(sources=[SourceConfig(path="BUILD")], decode=DecodeConfig(size=224))):
        batch.image    # uint8 (B, 224, 224, 3)

Nothing here imports torch.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from schemas.errors import WrongData
from schemas.stream import StreamConfig
from stages.ahead import ahead
from stages.stream.decode import Decoder
from stages.stream.members import IMAGE
from stages.stream.sequence import Drawn, Sequence
from stages.stream.shards import OpenShard, OpenShards
from stages.stream.source import Source, open_source
from stages.stream.topology import Span, Topology, spans, stretches, topology_of_process

_DRAWN_AT_ONCE = 1024  # samples
_EXPECT_EVERY = 256  # samples between two looks at which shards come next
_PATIENCE = 1000
"""Samples before the share of bad ones is judged."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample left out of its batch."""

    sample_id: str
    source: str
    shard: str
    why: str


@dataclass(slots=True)
class Batch:
    """B samples in the order of the sequence; bad ones are left out and named in `bad`."""

    start: int
    """Position of the batch in the sequence."""
    after: int
    """Position after the step to which it belongs, all ranks together: what a checkpoint keeps."""
    sample_id: list[str]
    source: np.ndarray
    """Index of each sample's source, int64 (B,)."""
    members: dict[str, list[Any]]
    """Member → bytes-like of each sample, None where it has none. Slices of mapped files: copy what you keep.
    Without `image` where it was decoded."""
    image: Any = None
    """With a decoder: uint8 (B, size, size, 3), RGB; a torch tensor from a `Stream`."""
    bad: list[BadSample] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def text(self) -> list[str]:
        """The `.txt` of each sample; empty where it has none."""
        return [str(m, "utf-8") if m is not None else "" for m in self.members["txt"]]

    def __reduce__(self) -> tuple[Any, ...]:
        """Maps do not travel between processes: members become bytes."""
        members = {k: [None if m is None else bytes(m) for m in v] for k, v in self.members.items()}
        return (Batch, (self.start, self.after, self.sample_id, self.source, members, self.image, self.bad))


@dataclass(frozen=True, slots=True)
class Located:
    """A batch before its members are sliced."""

    batch: Batch
    """Without members."""
    names: list[str]
    """Of the members."""
    shards: list[OpenShard]
    """Each once."""
    of: list[int]
    """Of each sample, its place in `shards`."""
    bounds: list[tuple[int, ...]]
    """Of each sample, as in `OpenShard`."""

    def sliced(self) -> Batch:
        """The batch; its members are slices of the shards' maps."""
        data = [shard.data for shard in self.shards]
        self.batch.members = slices(self.names, [data[i] for i in self.of], list(zip(*self.bounds, strict=True)))
        return self.batch


def slices(names: list[str], data: list[memoryview], columns: list[Any]) -> dict[str, list[Any]]:
    """Member → slice of each sample's `data`, None for a stop of −1.

    `columns`, of whole numbers: the first member's starts, its stops, the second one's starts …
    """
    bounds = zip(names, columns[::2], columns[1::2], strict=True)
    return {
        name: [d[a:b] if b >= 0 else None for d, a, b in zip(data, starts, stops, strict=True)]
        for name, starts, stops in bounds
    }


class BatchReader:
    """Iterates over the batches of one rank (and worker) from `position` on.

    Raises WrongRequest for a source that cannot be opened, WrongData for a shard that is not what its manifest says
    and for too many bad samples.
    """

    def __init__(
        self,
        config: StreamConfig,
        topology: Topology | None = None,
        position: int = 0,
        sources: list[Source] | None = None,
    ) -> None:
        self.config = config
        self.topology = topology or topology_of_process()
        self.position = position
        self.sources = sources if sources is not None else [open_source(s) for s in config.sources]
        self.sequence = Sequence([s.counts for s in self.sources], config)
        self.seen = self.bad = 0

    def __iter__(self) -> Iterator[Batch]:
        decoder = Decoder(self.config.decode) if self.config.decode is not None else None
        located = self.located()
        found = (each.sliced() for each in located)
        try:
            if decoder is None:
                yield from (self._accounted(batch) for batch in found)
            else:  # one batch is decoded while the one before it is used
                yield from (self._accounted(b) for b in ahead(lambda b: _decoded(b, decoder, self), found, threads=1))
        finally:
            located.close()
            if decoder is not None:
                decoder.close()

    def located(self, keep_files: bool = False) -> Generator[Located]:
        """The batches without decoding, before their members are sliced; `keep_files`: shards have their `file`."""
        shards = OpenShards(self.sources, self.config, keep_files)
        wanted = spans(self.position, self.sequence.total, self.config.batch, self.topology, self.config.drop_last)
        try:
            yield from (
                self._locate(span, drawn, shards) for span, drawn in self._expecting(self._drawn(wanted), shards)
            )
        finally:
            shards.close()

    def _drawn(self, wanted: Iterator[Span]) -> Iterator[tuple[Span, Drawn]]:
        """The samples of each span, several spans at once: a numpy call costs the same for 64 and for 1,000 of them."""
        at_once = max(1, _DRAWN_AT_ONCE // self.config.batch)
        while several := list(islice(wanted, at_once)):
            drawn, first = self.sequence.at(*stretches(several)), 0
            for span in several:
                last = first + span.stop - span.start
                yield span, drawn[first:last]
                first = last

    def _expecting(self, wanted: Iterator[tuple[Span, Drawn]], shards: OpenShards) -> Iterator[tuple[Span, Drawn]]:
        looked = -_EXPECT_EVERY
        for span, drawn in wanted:
            if span.start - looked >= _EXPECT_EVERY:
                shards.expect(self.sequence.upcoming(span.start))
                looked = span.start
            yield span, drawn

    def _locate(self, span: Span, drawn: Drawn, shards: OpenShards) -> Located:
        keys, rows = list(zip(drawn.source.tolist(), drawn.shard.tolist(), strict=True)), drawn.row.tolist()
        place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        opened, of = [shards[key] for key in place], [place[key] for key in keys]
        ids = [opened[i].sample_ids[row] for i, row in zip(of, rows, strict=True)]
        bounds = [opened[i].bounds[row] for i, row in zip(of, rows, strict=True)]
        return Located(Batch(span.start, span.after, ids, drawn.source, {}), self.config.members, opened, of, bounds)

    def name_of(self, batch: Batch, i: int, why: str) -> BadSample:
        """The bad sample at index i of a batch that was just read."""
        drawn = self.sequence.at((batch.start + i, batch.start + i + 1))
        source = self.sources[int(drawn.source[0])]
        return BadSample(batch.sample_id[i], source.label, source.facts[int(drawn.shard[0])].path, why)

    def _accounted(self, batch: Batch) -> Batch:
        self.seen += len(batch) + len(batch.bad)
        self.bad += len(batch.bad)
        if batch.bad and self.seen >= _PATIENCE and self.bad > self.config.max_bad_share * self.seen:
            last = batch.bad[-1]
            raise WrongData(
                f"{self.bad} of {self.seen} samples cannot be decoded; the last is {last.sample_id} "
                f"in {last.shard} of source {last.source!r}: {last.why}",
                "look at them with `pairmill explain`, or raise max_bad_share",
            )
        return batch


def _decoded(batch: Batch, decoder: Decoder, reader: BatchReader) -> Batch:
    """The batch with its pictures, and without its bad samples."""
    images, bad = decoder.decode(batch.members.pop(IMAGE))
    if not bad:
        return replace(batch, image=images)
    good = [i for i in range(len(batch)) if i not in bad]
    return replace(
        batch,
        sample_id=[batch.sample_id[i] for i in good],
        source=batch.source[good],
        members={name: [found[i] for i in good] for name, found in batch.members.items()},
        image=images[good],
        bad=[reader.name_of(batch, i, why) for i, why in bad.items()],
    )
