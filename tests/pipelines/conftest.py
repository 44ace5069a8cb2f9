"""For tests of whole builds and of indexed folders: one of each to look at."""

from pathlib import Path

import pytest

from pipelines.build import build
from pipelines.recipe_file import load
from stages.store import Store
from tests.conftest import RECIPE, Web
from tests.pipelines.index_folders import put
from tests.pipelines.test_kill import NO_CLIP


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder with TARS in it."""
    return put(str(tmp_path / "tars"))


@pytest.fixture(scope="session")
def without_clip(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo recipe's build without CLIP, in this process, six parts. Read it, or copy it."""
    folder = tmp_path_factory.mktemp("without_clip") / "build"
    build(load(str(RECIPE), [*web.settings, *NO_CLIP, "engine.kind=local"]), Store(str(folder)))
    return folder
