"""Builds to stream from: sample i has the caption "caption i" and a PNG of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.stream import SourceConfig, StreamConfig
from tests.builders import sample
from tests.finished import finished

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
