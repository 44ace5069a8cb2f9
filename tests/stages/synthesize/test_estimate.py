"""The estimate counts what would be sent, and believes the cache where it knows."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.endpoint import EndpointConfig, Prices
from schemas.synthesize import SynthesizeConfig
from stages.synthesize import picture
from stages.synthesize.context import Context
from stages.synthesize.endpoint.wire import prompt_tokens_most
from stages.synthesize.estimate import Estimate, estimate, text_tokens
from stages.synthesize.kinds.base import Task
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.registry import KINDS
from stages.synthesize.model import ModelTeacher
from stages.synthesize.teacher import Asked
from tests.stages.synthesize.endpoint.conftest import settings
from tests.stages.synthesize.endpoint.server import COMPLETION, PROMPT, Server
from tests.stages.synthesize.test_model_kinds import wished

STREETS = [replace(STREET["en"], sample_id=str(i), captions=(f"Street number {i}.",)) for i in range(6)]
BARE = [Context(f"bare{i}", 640, 480, ("A dog.",)) for i in range(2)]


def config(**more) -> SynthesizeConfig:
    more.setdefault("endpoint", EndpointConfig(model="m"))
    return SynthesizeConfig(teacher="model", **more)


def test_each_kind_is_estimated_from_the_samples_it_applies_to():
    found = estimate([Asked(c) for c in (*STREETS, *BARE)], config(kinds=("detail", "text", "interleaved")))
    assert [(e.kind, e.samples, e.requests, e.known) for e in found] == [
        ("detail", 8, 8, 0), ("text", 8, 6, 0), ("interleaved", 8, 0, 0),
    ]  # fmt: skip
    detail, text, none = found
    assert detail.completion_tokens == KINDS["detail"].completion_tokens and none.prompt_tokens == 0
    messages = KINDS["text"].messages(Task((STREETS[0],)))
    characters = sum(len(m["content"]) for m in messages)
    assert text.prompt_tokens == pytest.approx(characters / 4, rel=0.05)
    assert text.prompt_tokens < prompt_tokens_most(messages, None, 0)


def test_what_the_cache_knows_is_believed(tmp_path):
    with Server(wished) as server:
        made = config(kinds=("detail",), endpoint=settings(server.url))
        teacher = ModelTeacher(made, tmp_path, {"TEST_KEY": "k"})
        teacher.open()
        teacher.write([Asked(c) for c in STREETS[:2]])
        teacher.close()
        (found,) = estimate([Asked(c) for c in STREETS], made, tmp_path)
    (unknown,) = estimate([Asked(c) for c in STREETS], made, tmp_path / "none")
    assert found.known == 2 and found.completion_tokens == COMPLETION
    assert found.prompt_tokens == pytest.approx((2 * PROMPT + 4 * unknown.prompt_tokens) / 6)
    assert unknown.known == 0 and not (tmp_path / "none").exists()


def test_pictures_count_as_their_tiles_though_nothing_is_fetched_yet():
    blind, seeing = (estimate([Asked(BARE[0])], config(kinds=("detail",), sees=sees))[0] for sees in ("image", "both"))
    assert min(blind.prompt_tokens, seeing.prompt_tokens) > picture.tokens(640, 480, 768) == 85 + 2 * 170
    assert picture.tokens(640, 480, 512) == 85 and picture.tokens(0, 0, 768) == 85
    assert picture.tokens(2048, 4096, 4096) == 85 + 6 * 170  # OpenAI's own example: 1105


def test_tokens_and_cost_over_a_pool():
    found = Estimate("detail", samples=8, requests=6, prompt_tokens=1000.0, completion_tokens=200.0, known=0)
    assert found.tokens(800) == 600 * 1200
    assert found.cost(800, Prices(prompt=Decimal("0.15"), completion=Decimal("0.6"))) == Decimal("0.162")
    assert Estimate("detail", 0, 0, 0.0, 220.0, 0).cost(800, Prices(prompt=Decimal(1))) == 0


def test_other_scripts_take_a_token_a_character():
    assert text_tokens("abcdefgh") == 2 and text_tokens("一只狗") == 3
