"""One tiny CLIP for the whole session: making it costs the import of torch and open_clip."""

from pathlib import Path

import pytest

from tests.stages.measure.builders import tiny_clip


@pytest.fixture(scope="session")
def clip_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`local-dir:` name of a tiny open_clip model with random weights."""
    return tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture
def clip_copy(clip_name: str, tmp_path: Path) -> Path:
    """A folder of its own with the same model, to be changed."""
    import shutil

    return Path(shutil.copytree(clip_name.removeprefix("local-dir:"), tmp_path / "copy"))
