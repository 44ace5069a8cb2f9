"""Settings of one OpenAI-compatible endpoint: what is asked, what it costs, how far and how fast it may go."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.config import RUNTIME, StageConfig
from schemas.errors import WrongRequest

PICO = 10**12
"""Money is counted in whole 10⁻¹² of the currency, so that sums are exact: a price per million tokens with six
decimals is a whole number of them per token."""


class Structured(StrEnum):
    """How a reply is held to a schema."""

    json_schema = "json_schema"
    """`response_format` with the schema; the server constrains the text."""
    json_object = "json_object"
    """`response_format` json_object; the schema is told in the prompt."""
    none = "none"
    """No `response_format`; the schema is told in the prompt."""
    auto = "auto"
    """json_schema, and the next weaker one where the server refuses it."""


def _whole_pico(price: Decimal) -> Decimal:
    if price != round(price, 6):
        raise ValueError(f"a price has at most six decimals, not {price}")
    return price


Price = Annotated[Decimal, Field(ge=0, le=10**6), AfterValidator(_whole_pico)]


class Prices(StageConfig):
    """Price table, per million tokens, in any one currency. All zero: a server of one's own."""

    prompt: Price = Decimal(0)
    completion: Price = Decimal(0)
    cached: Price | None = None
    """Prompt tokens the provider served from its own cache; None: as `prompt`."""

    def pico(self, prompt: int, completion: int, cached: int = 0) -> int:
        """Exact cost in 10⁻¹² of the currency. `cached` of the `prompt` tokens were the provider's cache's."""
        per_cached = self.prompt if self.cached is None else self.cached
        total = (prompt - cached) * self.prompt + cached * per_cached + completion * self.completion
        return int(total * (PICO // 10**6))


class Caps(StageConfig):
    """Hard limits over the life of the reply cache (all runs, all processes that share its folder)."""

    tokens: Annotated[int, RUNTIME] = Field(default=0, ge=0)
    """Prompt and completion tokens; 0: no limit."""
    money: Annotated[Decimal | None, RUNTIME] = Field(default=None, ge=0)
    """In the currency of the price table; None: no limit."""


class Timing(StageConfig):
    """Seconds and counts of the manners; they decide how fast, never which bytes."""

    connect_s: Annotated[float, RUNTIME] = Field(default=10.0, gt=0)
    request_s: Annotated[float, RUNTIME] = Field(default=180.0, gt=0)
    """Whole request, from sending to the last byte."""
    drain_s: Annotated[float, RUNTIME] = Field(default=30.0, ge=0)
    """After a cancellation: how long requests in flight may still arrive, since they are paid for."""
    max_in_flight: Annotated[int, RUNTIME] = Field(default=256, ge=1)
    first_in_flight: Annotated[int, RUNTIME] = Field(default=8, ge=1)
    """Where the adaptive limit starts."""
    tries: Annotated[int, RUNTIME] = Field(default=5, ge=1)
    """How often a request may fail by the server's or the network's fault."""
    refusals: Annotated[int, RUNTIME] = Field(default=30, ge=1)
    """How often a request may be answered 429 before it is given up."""
    backoff_s: Annotated[float, RUNTIME] = Field(default=0.5, gt=0)
    """First mean of the exponential backoff; doubled with each try."""
    backoff_most_s: Annotated[float, RUNTIME] = Field(default=30.0, gt=0)
    wait_most_s: Annotated[float, RUNTIME] = Field(default=300.0, gt=0)
    """The longest that a header may tell us to wait."""
    breaker_after: Annotated[int, RUNTIME] = Field(default=10, ge=1)
    """Failures of the endpoint in a row, no success between, that open the circuit."""
    breaker_s: Annotated[float, RUNTIME] = Field(default=2.0, gt=0)
    """Pause before the first probe; doubled with each probe that fails, up to `backoff_most_s`."""
    breaker_probes: Annotated[int, RUNTIME] = Field(default=6, ge=1)
    """Probes that may fail in a row before everything that is left fails with `circuit_open`."""


class EndpointConfig(StageConfig):
    """One model behind one OpenAI-compatible `base_url`."""

    base_url: Annotated[str, RUNTIME] = "https://api.openai.com/v1"
    """Runtime: a served model keeps its name wherever it runs, and a build's bytes hold no host."""
    model: str
    api: Literal["chat", "responses"] = "chat"
    """Chat Completions, which every server has, or OpenAI's Responses (where `seed` is not sent: it knows none)."""
    api_key_env: Annotated[str | None, RUNTIME] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; None: the server wants none."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """None: not sent (some reasoning models refuse it)."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int = Field(default=1024, ge=1)
    max_tokens_name: Annotated[str, RUNTIME] = Field(
        default="max_tokens", pattern="^(max_tokens|max_completion_tokens)$"
    )
    """The parameter's name: OpenAI's reasoning models take only max_completion_tokens."""
    seed: int | None = None
    structured: Structured = Structured.auto
    prices: Prices = Prices()
    caps: Caps = Caps()
    timing: Timing = Timing()
    image_tokens: Annotated[int, RUNTIME] = Field(default=1105, ge=0)
    """Reserved for each picture in a prompt until the server's usage is known. 1105: OpenAI's figure for a
    2048 × 4096 picture at high detail (platform.openai.com/docs/guides/images-vision)."""
    reply_bytes_most: Annotated[int, RUNTIME] = Field(default=4 * 2**20, ge=1024)
    """A longer HTTP body is cut off while it is read: too_large."""
    fsync: Annotated[bool, RUNTIME] = True
    """A reply is handed out only after its record is on the disk. Off: it survives a kill, not a power cut."""

    @field_validator("base_url")
    @classmethod
    def _http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"base_url {url!r} is not an http address; give it as in https://host/v1")
        if "@" in url.split("/")[2]:
            raise ValueError("base_url holds a user or a password; name a key's environment variable in api_key_env")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _money_needs_prices(self) -> Self:
        if self.caps.money is not None and not (self.prices.prompt or self.prices.completion):
            raise ValueError("caps.money is set and every price is 0; fill prices, or use caps.tokens")
        return self

    def key(self, environ: Mapping[str, str]) -> str:
        """The key, from the environment. Raises WrongRequest where the variable is missing or empty."""
        if self.api_key_env is None:
            return "none"
        value = environ.get(self.api_key_env, "").strip()
        if not value:
            raise WrongRequest(
                f"the environment variable {self.api_key_env}, which holds the endpoint's key, is not set",
                "set it, or say `api_key_env: null` where the server wants no key",
            )
        return value
