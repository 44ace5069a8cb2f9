"""Settings that wait milliseconds, and a way to ask."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.endpoint import EndpointConfig, Timing
from stages.synthesize.endpoint.client import Endpoint
from stages.synthesize.endpoint.many import ask_all
from stages.synthesize.endpoint.wire import Failure, Reply, Request

KEY = "sk-secret-0123456789"
QUICK = {"backoff_s": 0.01, "breaker_s": 0.02, "backoff_most_s": 0.1, "request_s": 5.0, "drain_s": 3.0}


def settings(url: str, timing: dict[str, Any] | None = None, **more: Any) -> EndpointConfig:
    more.setdefault("max_tokens", 10)
    return EndpointConfig(
        base_url=url, model="m", api_key_env="TEST_KEY", timing=Timing(**{**QUICK, **(timing or {})}), **more
    )


def say(text: str, **more: Any) -> Request:
    return Request([{"role": "user", "content": text}], **more)


Outcomes = list[Reply | Failure]


async def gather(endpoint: Endpoint, requests: list[Request]) -> Outcomes:
    found = {i: o async for i, o in ask_all(requests, endpoint)}
    return [found[i] for i in range(len(requests))]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[Outcomes, Endpoint]]:
    """ask(config, *texts or requests) -> outcomes in order, the (closed) endpoint."""

    def run(config: EndpointConfig, *what: str | Request) -> tuple[Outcomes, Endpoint]:
        async def inside() -> tuple[Outcomes, Endpoint]:
            async with Endpoint(config, tmp_path / "replies", {"TEST_KEY": KEY}) as endpoint:
                return await gather(endpoint, [say(w) if isinstance(w, str) else w for w in what]), endpoint

        return asyncio.run(inside())

    return run
