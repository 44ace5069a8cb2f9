"""The tiny parts, saved once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.train.models import Built, build
from schemas.train import LanguageConfig, ModelConfig, TowerConfig
from tests.pipelines.train import parts

Builder = Callable[..., Built]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip/, siglip/, dinov2/, registers/; llama/ without a pad token, tied/ with one and a tied head."""
    folder = tmp_path_factory.mktemp("shelf")
    for kind in ("clip", "siglip", "dinov2", "registers"):
        parts.tower(folder / kind, kind)
    parts.language(folder / "llama", pad=False)
    parts.language(folder / "tied", tied=True)
    return folder


@pytest.fixture
def builder(shelf: Path) -> Builder:
    """`builder(tower="clip", language="llama", family=…, projector=…)`."""

    def made(tower: str = "clip", language: str = "llama", **more: Any) -> Built:
        return build(
            ModelConfig(
                tower=more.pop("tower_config", TowerConfig(model=str(shelf / tower))),
                language=more.pop("language_config", LanguageConfig(model=str(shelf / language))),
                **more,
            )
        )

    return made
