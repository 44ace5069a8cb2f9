"""One small sample web for the room's tests, and a server for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sample_web.pool import SampleWeb, write_pool
from pipelines.sample_web.server import SampleWebServer


@pytest.fixture(scope="session")
def small_web(tmp_path_factory: pytest.TempPathFactory) -> SampleWeb:
    return write_pool(tmp_path_factory.mktemp("web"), rows=260, seed=3)


@pytest.fixture(scope="session")
def served(small_web: SampleWeb) -> Iterator[SampleWebServer]:
    with SampleWebServer(Path(small_web.folder)) as server:
        yield server
