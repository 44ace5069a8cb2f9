"""Damage to a local dataset: each kind is an error that names the file, and none is read past."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import WrongData
from stages.stream.batches import BatchReader
from stages.stream.sequence import Sequence
from tests.stages.stream.conftest import MakeBuild, config

SHARD = "shards/train-000001.tar"


def truncated(build: Path) -> None:
    os.truncate(build / SHARD, 2048)


def flipped(build: Path) -> None:
    data = bytearray((build / SHARD).read_bytes())
    data[700] ^= 1
    (build / SHARD).write_bytes(data)


def missing(build: Path) -> None:
    (build / SHARD).unlink()


def longer(build: Path) -> None:
    with (build / SHARD).open("ab") as f:
        f.write(bytes(512))


def of_another_shard(build: Path) -> None:
    index = build / SHARD.replace(".tar", ".parquet")
    index.write_bytes((build / "shards/train-000000.parquet").read_bytes())


def without_index(build: Path) -> None:
    (build / SHARD.replace(".tar", ".parquet")).unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (truncated, r"train-000001\.tar has 2048 bytes and its index places"),
        (flipped, r"train-000001\.tar has sha256"),
        (missing, r"train-000001\.tar is missing"),
        (longer, r"train-000001\.tar has \d+ bytes, its manifest says"),
        (of_another_shard, r"train-000001\.parquet, the index of .* is not the file that the manifest names"),
        (without_index, r"train-000001\.parquet is missing"),
    ],
)
def test_damage_is_named(make_build: MakeBuild, damage: Callable[[Path], None], named: str) -> None:
    path = make_build(samples=12)
    damage(Path(path))
    with pytest.raises(WrongData, match=named):
        list(BatchReader(config(path)))


def test_the_hash_may_be_left_unchecked(make_build: MakeBuild) -> None:
    path = make_build(samples=12)
    flipped(Path(path))
    assert len(list(BatchReader(config(path, check=False)))) == 3


def test_no_more_shards_are_open_than_two_windows_and_a_few(
    make_build: MakeBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    settings = config(make_build(samples=120), repeats=2)
    reader = BatchReader(settings)
    from stages.stream.shards import OpenShards

    real = OpenShards.expect

    def counted(self: OpenShards, needed: list[tuple[int, int]]) -> None:
        real(self, needed)
        held.append(len(self._open))

    monkeypatch.setattr(OpenShards, "expect", counted)
    monkeypatch.setattr("stages.stream.batches._EXPECT_EVERY", 1)
    assert sum(len(b) for b in reader) == 240
    assert 3 <= max(held) <= 2 * settings.window + 2


def test_upcoming_is_what_comes(make_build: MakeBuild) -> None:
    """All that the next window's worth of samples needs is announced, at any position, over the epoch's edge too."""
    reader = BatchReader(config(make_build(samples=22), repeats=3))
    sequence: Sequence = reader.sequence
    for position in range(0, 66, 5):
        drawn = sequence.at((position, position + 8))
        needed = set(zip(drawn.source.tolist(), drawn.shard.tolist(), strict=True))
        assert needed <= set(sequence.upcoming(position)), position


def test_the_small_windows_of_the_beginning_are_announced_together(make_build: MakeBuild) -> None:
    """Windows of 1, 2 and 3 shards: as many as two later windows have."""
    reader = BatchReader(config(make_build(samples=48)))
    assert len(reader.sequence.upcoming(0)) == 6
    assert len(reader.sequence.upcoming(4)) == 5
