"""The stream as torch knows it: an IterableDataset of batches, with a state.

    stream = Stream(StreamConfig(sources=[SourceConfig(path="BUILD", repeats=3)], decode=DecodeConfig(size=224)))
    for batch in stream.loader(workers=2):
        train(batch.image.to(device, non_blocking=True), batch.text)
        save(stream.state_dict())

A state taken after a whole step is that of the whole run: any number of ranks and workers may go on from it.
"""

import resource
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from schemas.stream import StreamConfig
from stages.stream.batches import Batch, BatchReader
from stages.stream.decode import alone
from stages.stream.references import Sender
from stages.stream.report import SourceReport, drawn
from stages.stream.sequence import Sequence
from stages.stream.source import Source, open_source
from stages.stream.state import resumed, state_at
from stages.stream.topology import Topology, topology_of_process
from stages.stream.travel import Travelling


class Stream(IterableDataset[Batch]):
    """Batches of one rank; `image` is a torch tensor. One pass goes from where the stream stands to its end.

    For DataLoader: `DataLoader(stream, batch_size=None, num_workers=n)`; a loader of torch does not tell the stream how
    far its consumer is, so pass the last batch's `after` to `state_dict`, or use `loader`, which does. Sources are
    opened once, here, or given; `topology` is by default that of torch.distributed or torchrun when iteration begins.
    """

    def __init__(
        self, config: StreamConfig, topology: Topology | None = None, sources: list[Source] | None = None
    ) -> None:
        super().__init__()
        self.config, self._topology = config, topology
        self.sources = sources if sources is not None else [open_source(s) for s in config.sources]
        self.sequence = Sequence([s.counts for s in self.sources], config)
        if config.decode is not None:
            alone()
        self.position = 0
        self.changes: list[str] = []

    def __iter__(self) -> Iterator[Batch]:
        topology, info = self._topology or topology_of_process(), get_worker_info()
        if info is not None:
            topology = replace(topology, worker=info.id, workers=info.num_workers)
        reader = BatchReader(self.config, topology, self.position, self.sources)
        if info is not None and self.config.decode is None:
            yield from _travelling(reader)
            return
        for batch in reader:
            if batch.image is not None:
                batch.image = torch.from_numpy(batch.image)
            if info is None:
                self.position = batch.after
                yield batch
            else:
                yield cast(Batch, Travelling(batch))  # the other process gets a Batch

    def loader(self, workers: int = 0, **options: Any) -> Iterator[Batch]:
        """Batches through a DataLoader with worker processes; keeps the stream's position. `options`: DataLoader's."""
        if workers == 0:
            yield from self
            return
        topology = self._topology or topology_of_process()  # workers do not have torch.distributed: tell them
        sent = Stream.__new__(Stream)
        sent.__dict__.update(self.__dict__, _topology=topology)
        for batch in DataLoader(sent, batch_size=None, num_workers=workers, **options):
            self.position = batch.after
            yield batch

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """The state after `position` samples of the sequence; by default after the last batch given out here."""
        at = self.position if position is None else position
        return state_at(at, self.config, self.sources, self.sequence, self.changes)

    def load_state_dict(self, state: dict[str, Any], allow_changed: bool = False) -> None:
        """Go on from a state. Raises WrongRequest or WrongData, saying what changed, unless that is allowed."""
        self.changes = resumed(state, self.config, self.sources, allow_changed)
        self.position = int(state["position"])

    def report(self, position: int | None = None) -> list[SourceReport]:
        """What was drawn of each source up to a position, beside what was asked for."""
        return drawn(self.sequence, self.position if position is None else position)


def _travelling(reader: BatchReader) -> Iterator[Batch]:
    """What arrives as the reader's batches in the training process, where nothing is decoded here."""
    if not _may_refer(reader):
        yield from (cast(Batch, Travelling(batch)) for batch in reader)
        return
    sender = Sender()
    try:
        for located in reader.located(keep_files=True):
            found = sender.references(located)
            yield cast(Batch, Travelling(located.sliced()) if found is None else found)
    finally:
        sender.close()


def _may_refer(reader: BatchReader) -> bool:
    """Whether the training process may hold the files that all workers have open, two windows of each source."""
    most = 2 * reader.config.window * len(reader.sources) * reader.topology.workers
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or most <= limit // 2
