"""For tests of indexed folders: one with tars that others wrote."""

from pathlib import Path

import pytest

from tests.pipelines.index_folders import put


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder with TARS in it."""
    return put(str(tmp_path / "tars"))
