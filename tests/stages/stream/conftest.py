"""Builds to stream from: sample i has the caption "caption i" and a PNG of its own; a server of one shard to fetch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.stream import SourceConfig, StreamConfig
from stages.stream import transfer
from tests.builders import sample
from tests.finished import finished
from tests.stages.stream.fetching import DATA, PATH, RANGE
from tests.stages.stream.servers import Hostile, serving

MakeBuild = Callable[..., str]


@pytest.fixture
def make_build(tmp_path: Path) -> MakeBuild:
    """make_build(name, samples, per_shard) → its path."""

    def make(name: str = "build", samples: int = 40, per_shard: int = 4, first: int = 0) -> str:
        rows = [sample(i, caption=f"caption {i}") for i in range(first, first + samples)]
        finished(tmp_path / name, rows, max_samples=per_shard)
        return str(tmp_path / name)

    return make


def config(*paths: str, **settings: object) -> StreamConfig:
    """A stream over builds, three shards a window."""
    source = {k: settings.pop(k) for k in ("repeats", "split", "where", "cap") if k in settings}
    sources = [SourceConfig.model_validate({"path": p, **source}) for p in paths]
    return StreamConfig.model_validate({"sources": sources, "window": 3, "batch": 4, **settings})


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard in ranges of RANGE bytes; next to no wait before another try."""
    monkeypatch.setattr(transfer, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(transfer, "_FIRST_WAIT", 0.01)


@pytest.fixture
def web() -> Iterator[tuple[Hostile, str]]:
    """(a server's state, its URL); it has DATA at PATH."""
    with serving() as (state, url):
        state.objects[PATH] = DATA
        yield state, url
