"""Fixtures of the download tests."""

from collections.abc import Iterator

import pytest

from tests.stages.download.hostile import HostileServer


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running
