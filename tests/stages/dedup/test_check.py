"""Dedup asks for no link whose signature is not measured."""

import pytest

from schemas.errors import WrongRequest
from schemas.recipe import (
    ClipConfig,
    DedupConfig,
    MeasureConfig,
    NearConfig,
    PdqConfig,
    PoolConfig,
    Recipe,
    SemanticConfig,
)
from stages.dedup.check import check

CLIP = ClipConfig(model="m")


def recipe(measure: MeasureConfig, dedup: DedupConfig | None) -> Recipe:
    return Recipe(name="x", pool=PoolConfig(paths=["x"]), measure=measure, dedup=dedup)


def test_near_needs_pdq_and_semantic_needs_clip() -> None:
    with pytest.raises(WrongRequest, match=r"dedup\.near needs PDQ"):
        check(recipe(MeasureConfig(clip=CLIP), DedupConfig(near=NearConfig())))
    with pytest.raises(WrongRequest, match=r"dedup\.semantic needs CLIP"):
        check(recipe(MeasureConfig(pdq=PdqConfig()), DedupConfig(semantic=SemanticConfig())))


def test_what_is_measured_may_be_asked_for() -> None:
    check(recipe(MeasureConfig(pdq=PdqConfig(), clip=CLIP), DedupConfig(semantic=SemanticConfig())))
    check(recipe(MeasureConfig(), DedupConfig(near=None)))
    check(recipe(MeasureConfig(), None))
