"""What is sent and what comes back: requests, replies, failures, and how a body is written and read.

A body from the wire is hostile: every field is checked before it is used, and nothing in it can raise past `read`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from schemas.conversation import FailureReason
from schemas.endpoint import EndpointConfig, Structured

PATHS = {"chat": "/chat/completions", "responses": "/responses"}
TOKENS_MOST = 2**31 - 1
"""A usage above this (the schema's int32) is a lie."""


@dataclass(frozen=True, slots=True)
class Request:
    """One chat completion. `messages` as OpenAI's API has them; `seed`, `max_tokens`: instead of the config's."""

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any] | None = None
    schema_name: str = "reply"
    max_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """As the server counted; `cached` of `prompt` came from the provider's own cache."""

    prompt: int
    completion: int
    cached: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was paid for once. `cost`: what it took, or would have taken, at the recipe's prices."""

    text: str
    finish_reason: str
    usage: Tokens
    cached: bool
    """It came from the reply cache: nothing was spent now."""
    cost: Decimal
    refused: bool = False
    """The model used OpenAI's `refusal` field; `text` is what it said there."""
    counted: bool = True
    """False: the server told no usage, and `usage` is the reserved upper bound."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`evidence`: status, message or count, in one line of at most 300 characters. `tries`: requests sent."""

    reason: FailureReason
    evidence: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A body that could be read. `usage` None: the server told none."""

    text: str
    finish_reason: str
    refused: bool
    usage: Tokens | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A body that holds no reply; `usage`: what the server says it took all the same."""

    reason: FailureReason
    evidence: str
    usage: Tokens | None = None


def request_key(request: Request, config: EndpointConfig) -> str:
    """sha256 of model, messages, parameters and schema: what names a reply. Not the host, nor a learned mode."""
    parts = {
        "version": 1,
        "model": config.model,
        "messages": [dict(m) for m in request.messages],
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_tokens": request.max_tokens or config.max_tokens,
        "seed": config.seed if request.seed is None else request.seed,
        "structured": str(config.structured) if request.schema is not None else None,
        "schema": request.schema,
        "schema_name": request.schema_name if request.schema is not None else None,
    }
    if config.api != "chat":
        parts["api"] = config.api
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def body(request: Request, config: EndpointConfig, mode: Structured) -> dict[str, Any]:
    """The body of `config.api`'s path. `mode` is never auto."""
    messages = [dict(m) for m in request.messages]
    seed = config.seed if request.seed is None else request.seed
    sent: dict[str, Any] = {
        "model": config.model,
        config.max_tokens_name: request.max_tokens or config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "seed": seed,
    }
    if request.schema is not None:
        if mode is Structured.json_schema:
            schema = {"name": request.schema_name, "schema": dict(request.schema), "strict": True}
            sent["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            told = json.dumps(request.schema, sort_keys=True, ensure_ascii=False)
            said = f"Answer with one JSON object and nothing else. It must fit this JSON schema:\n{told}"
            messages = [{"role": "system", "content": said}, *messages]
            if mode is Structured.json_object:
                sent["response_format"] = {"type": "json_object"}
    sent["messages"] = messages
    sent = {k: v for k, v in sent.items() if v is not None}
    if config.api == "responses":
        from stages.synthesize.endpoint.responses import to_responses

        return to_responses(sent)
    return sent


def prompt_tokens_most(messages: Iterable[Mapping[str, Any]], schema: Mapping[str, Any] | None, image: int) -> int:
    """An estimate above what real prompts take: a token per 3 ASCII bytes, one per other byte, 8 a message.

    English runs at about 4 bytes a token in byte-level BPE vocabularies (Radford et al. 2019), Chinese at 2-3."""
    total = 16
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        total += 8
        for part in parts:
            total += image if part.get("type") == "image_url" else _text_tokens(str(part.get("text", "")))
    return total + (_text_tokens(json.dumps(schema)) + 32 if schema is not None else 0)


def _text_tokens(text: str) -> int:
    plain = len(text) if text.isascii() else sum(c < "\x80" for c in text)
    rest = 0 if text.isascii() else len(text.encode("utf-8", "replace")) - plain
    return plain // 3 + rest + 1


def read(data: bytes, api: str = "chat") -> Answer | Unreadable:
    """A chat completion, or a response, from an HTTP body. Raises nothing."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Unreadable(FailureReason.invalid_json, one_line(f"{type(error).__name__}: {error}; {data[:80]!r}"))
    if not isinstance(found, dict):
        return Unreadable(FailureReason.malformed, f"the body is a JSON {type(found).__name__}")
    return read_object(found, api)


def read_object(found: dict[str, Any], api: str) -> Answer | Unreadable:
    """The same from parsed JSON, as a batch's lines hold it."""
    if api == "responses":
        from stages.synthesize.endpoint.responses import read_response

        return read_response(found)
    usage = _usage(found.get("usage"))
    if "choices" not in found and found.get("error"):  # OpenRouter and others send errors under status 200
        return Unreadable(FailureReason.server_error, one_line(f"200 with error {found['error']}"), usage)
    choices = found.get("choices")
    if choices is None or choices == []:
        return Unreadable(FailureReason.empty_choices, "the reply holds no choice", usage)
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        return Unreadable(FailureReason.malformed, "choices is not a list of objects", usage)
    return _choice(choices[0], usage)


def _choice(choice: dict[str, Any], usage: Tokens | None) -> Answer | Unreadable:
    message = choice.get("message")
    if not isinstance(message, dict):
        return Unreadable(FailureReason.empty_choices, "the first choice holds no message", usage)
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) and finish else "unknown"
    text, refusal = message.get("content"), message.get("refusal")
    refused = not text and isinstance(refusal, str) and bool(refusal)
    text = refusal if refused else ("" if text is None else text)
    if not isinstance(text, str):
        return Unreadable(FailureReason.malformed, f"content is a {type(text).__name__}", usage)
    if not text and finish != "content_filter":
        return Unreadable(FailureReason.empty_choices, f"the first choice is empty; finish_reason={finish[:40]}", usage)
    return Answer(clean(text), clean(finish)[:40], refused, usage)


def clean(text: str) -> str:
    """Lone surrogates, which JSON can spell and UTF-8 cannot, become U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _usage(found: Any) -> Tokens | None:
    if not isinstance(found, dict):
        return None
    return count_tokens(found.get("prompt_tokens"), found.get("completion_tokens"), found.get("prompt_tokens_details"))


def count_tokens(prompt: Any, completion: Any, details: Any) -> Tokens | None:
    """A usage as told; None where it cannot be one."""
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    for count in (prompt, completion):
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= TOKENS_MOST:
            return None
    if not isinstance(cached, int) or isinstance(cached, bool) or cached < 0:
        cached = 0
    return Tokens(prompt, completion, min(cached, prompt))


def one_line(text: str) -> str:
    """Evidence: printable, one line, at most 300 characters."""
    return " ".join(clean(text).split())[:300]
