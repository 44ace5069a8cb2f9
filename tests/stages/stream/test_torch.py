"""The stream inside torch's DataLoader and inside Ray Train."""

import errno
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from stages.stream.batches import Batch, BatchReader
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.conftest import ROOT
from tests.stages.stream.conftest import MakeBuild, config


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stock_dataloader_gives_the_sequence(make_build: MakeBuild, workers: int) -> None:
    import torch
    from torch.utils.data import DataLoader

    settings = config(make_build(samples=30), decode={"size": 16, "threads": 1})
    alone = [batch.sample_id for batch in BatchReader(settings)]
    batches = list(DataLoader(Stream(settings), batch_size=None, num_workers=workers))
    assert [batch.sample_id for batch in batches] == alone
    assert all(b.image.dtype == torch.uint8 and b.image.shape[1:] == (16, 16, 3) for b in batches)


_AFTER_OPENCV = """
import sys
import cv2, numpy as np
cv2.setNumThreads(4)
cv2.resize(np.zeros((4000, 4000, 3), np.uint8), (3000, 3000), interpolation=cv2.INTER_CUBIC)  # its threads run
from schemas.stream import StreamConfig
from stages.stream.torch_stream import Stream
print(sum(len(batch.sample_id) for batch in Stream(StreamConfig.model_validate_json(sys.argv[1])).loader(1)))
"""


def test_workers_decode_after_their_parent_used_opencv(make_build: MakeBuild) -> None:
    settings = config(make_build(samples=12), decode={"size": 16}).model_dump_json()
    command = [sys.executable, "-c", _AFTER_OPENCV, settings]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == "12\n"


@pytest.mark.parametrize("shared_from", [0, 1 << 30])
def test_members_travel_whole(make_build: MakeBuild, monkeypatch: pytest.MonkeyPatch, shared_from: int) -> None:
    """Where files cannot be passed on."""
    from stages.stream import travel

    monkeypatch.setattr(travel, "_SHARED_FROM", shared_from)
    monkeypatch.setattr(travel, "_PIECES", 5)
    monkeypatch.setattr("socket.send_fds", full)
    settings = config(make_build(samples=30), members=["image", "txt", "cls"])
    here = [as_bytes(batch) for batch in BatchReader(settings)]
    batches = list(Stream(settings).loader(2))  # all held at once
    assert [as_bytes(batch) for batch in batches] == here
    assert isinstance(batches[0].members["image"][0].obj, mmap.mmap if shared_from == 0 else bytes)


def full(*_: object) -> None:
    raise OSError(errno.ETOOMANYREFS, "Too many references")


def as_bytes(batch: Batch) -> dict[str, list[bytes | None]]:
    return {name: [None if m is None else bytes(m) for m in found] for name, found in batch.members.items()}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_keeps_the_position_of_its_consumer(make_build: MakeBuild, workers: int) -> None:
    stream = Stream(config(make_build(samples=30)), Topology(0, 2))
    positions = [stream.position for _ in stream.loader(workers)]
    assert positions == [8, 16, 24, 30]


@pytest.mark.slow
def test_ray_train_gives_each_rank_its_batches(make_build: MakeBuild, tmp_path: Path) -> None:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    settings = config(make_build(samples=30), repeats=2)
    out = tmp_path / "ranks"
    out.mkdir()

    def loop(given: dict[str, str]) -> None:
        import torch.distributed

        stream = Stream(type(settings).model_validate_json(given["config"]))
        rank = torch.distributed.get_rank()
        lines = [" ".join(batch.sample_id) for batch in stream]
        Path(given["out"], str(rank)).write_text("\n".join(lines))

    ray.init(address="local", include_dashboard=False, num_cpus=3)
    try:
        TorchTrainer(
            loop,
            train_loop_config={"config": settings.model_dump_json(), "out": str(out)},
            scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(storage_path=str(tmp_path / "ray")),
        ).fit()
    finally:
        ray.shutdown()
    ranks = [Path(out, str(rank)).read_text().split("\n") for rank in range(2)]
    steps = [line for step in range(len(ranks[0])) for line in (r[step] for r in ranks if step < len(r))]
    assert " ".join(steps).split() == [i for b in BatchReader(settings, Topology()) for i in b.sample_id]
