"""A stream out of a bucket: the sequence of the folder, with and without a cache, in workers, and its faults."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from schemas.errors import WrongData
from stages.stream.batches import BatchReader
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.stages.stream.conftest import MakeBuild, config


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()
    try:
        yield "s3://mill"
    finally:
        clients.clear_instance_cache()
        server.stop()


def uploaded(path: str, bucket: str) -> str:
    """The build at a path, in the bucket."""
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    s3.makedirs("mill", exist_ok=True)
    url = f"{bucket}/{Path(path).parent.name}/build"  # moto's servers of one process share their objects
    s3.put(path, url, recursive=True)
    return url


def test_a_bucket_gives_the_sequence_and_bytes_of_the_folder(
    make_build: MakeBuild, bucket: str, tmp_path: Path
) -> None:
    path = make_build(samples=40)
    url = uploaded(path, bucket)
    cache = str(tmp_path / "cache")
    wanted = [(b.sample_id, [bytes(m) for m in b.members["image"]]) for b in BatchReader(config(path))]
    for remote in ({}, {"cache": cache}, {"cache": cache, "ahead": 0}):
        found = BatchReader(config(url, remote=remote), Topology())
        assert [(b.sample_id, [bytes(m) for m in b.members["image"]]) for b in found] == wanted
    assert len([p for p in Path(cache).rglob("*") if p.is_file() and p.stat().st_size > 1000]) == 20  # and indexes


def test_worker_processes_share_the_cache(make_build: MakeBuild, bucket: str, tmp_path: Path) -> None:
    path = make_build(samples=24)
    url = uploaded(path, bucket)
    stream = Stream(config(url, remote={"cache": str(tmp_path / "cache")}))
    assert [b.sample_id for b in stream.loader(2)] == [b.sample_id for b in BatchReader(config(path))]


def test_a_state_moves_from_folder_to_bucket(make_build: MakeBuild, bucket: str) -> None:
    path = make_build(samples=24)
    stream = Stream(config(uploaded(path, bucket)))
    stream.load_state_dict(Stream(config(path)).state_dict(8))
    assert [b.sample_id for b in stream] == [b.sample_id for b in BatchReader(config(path), position=8)]


def test_a_shard_that_was_changed_in_the_bucket_is_named(make_build: MakeBuild, bucket: str) -> None:
    url = uploaded(make_build(samples=12), bucket)
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    data = bytearray(s3.cat_file(f"{url}/shards/train-000001.tar"))
    data[700] ^= 1
    s3.pipe_file(f"{url}/shards/train-000001.tar", bytes(data))
    with pytest.raises(WrongData, match=r"train-000001\.tar"):
        list(BatchReader(config(url, remote={"tries": 1})))
