"""Batches that arrive from workers as places in shards: whole, bounded, and without a trace when their loader ends."""

import gc
import os
import signal
from pathlib import Path

import pytest

from schemas.errors import WrongData
from stages.stream import references
from stages.stream.batches import Batch, BatchReader
from stages.stream.torch_stream import Stream
from tests.stages.stream.conftest import MakeBuild, config

MEMBERS = ["image", "txt", "cls"]  # no sample has the last


def as_bytes(batch: Batch) -> dict[str, list[bytes | None]]:
    return {name: [None if m is None else bytes(m) for m in found] for name, found in batch.members.items()}


@pytest.mark.parametrize(("context", "workers"), [("fork", 3), ("spawn", 1)])
def test_what_arrives_is_what_is_stored(make_build: MakeBuild, context: str, workers: int) -> None:
    settings = config(make_build(samples=30), members=MEMBERS, repeats=2)
    here = list(BatchReader(settings))
    there = list(Stream(settings).loader(workers, multiprocessing_context=context))  # read after the workers' end
    assert [as_bytes(batch) for batch in there] == [as_bytes(batch) for batch in here]
    assert [(b.start, b.after, b.sample_id, b.source.tolist()) for b in there] == [
        (b.start, b.after, b.sample_id, b.source.tolist()) for b in here
    ]


def test_workers_share_a_map_and_close_it_when_they_have_read_it(
    make_build: MakeBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.stream.batches._EXPECT_EVERY", 1)
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    settings = config(make_build(samples=160), members=MEMBERS, repeats=2)  # 80 shards to open, of 40 files
    held, seen = [], 0
    for batch in Stream(settings).loader(2):
        seen += len(batch)
        held.append(len(references._maps))
    assert seen == 320
    assert max(held) <= 2 * settings.window + 2 + 2 * settings.window  # a worker may be some batches behind the other
    assert held[-1] > 0
    del batch
    gc.collect()
    assert len(references._maps) == len(references._files) == 0
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_shard_may_be_removed_while_it_is_read(make_build: MakeBuild) -> None:
    path = make_build(samples=30, per_shard=30)
    settings = config(path)
    wanted = [as_bytes(batch) for batch in BatchReader(settings)]
    batches = Stream(settings).loader(1)
    found = [next(batches)]
    (shard,) = Path(path).glob("shards/*.tar")
    shard.unlink()
    found += batches
    assert [as_bytes(batch) for batch in found] == wanted


def test_persistent_workers_begin_anew(make_build: MakeBuild) -> None:
    from torch.utils.data import DataLoader

    settings = config(make_build(samples=30), members=MEMBERS)
    wanted = [as_bytes(batch) for batch in BatchReader(settings)]
    loader = DataLoader(Stream(settings), batch_size=None, num_workers=2, persistent_workers=True)
    for _ in range(3):
        assert [as_bytes(batch) for batch in loader] == wanted
    assert len(references._held) == 2


def test_a_killed_worker_is_an_error(make_build: MakeBuild) -> None:
    import multiprocessing

    settings = config(make_build(samples=60), repeats=None)
    batches = Stream(settings).loader(2)
    next(batches)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
    with pytest.raises(RuntimeError, match=r"DataLoader worker .* exited unexpectedly"):
        for _ in range(100):
            next(batches)


def test_a_file_that_was_cut_is_not_mapped(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(bytes(100))
    fd = os.open(tmp_path / "shard", os.O_RDONLY)
    with pytest.raises(WrongData, match="101 bytes was cut to 100"):
        references._mapped(fd, 101)
    os.close(fd)


def test_bytes_travel_where_files_would_be_too_many(make_build: MakeBuild, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (20, 20))
    settings = config(make_build(samples=30))
    found = list(Stream(settings).loader(2))
    assert [as_bytes(batch) for batch in found] == [as_bytes(batch) for batch in BatchReader(settings)]
    assert isinstance(found[0].members["image"][0].obj, bytes)
