"""The openai client over httpx2, with a body that cannot grow past its cap, and what its errors mean.

Imported where a connection is opened: openai and httpx2 take most of a second.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.request import getproxies

import httpx2
import openai

from schemas.endpoint import EndpointConfig, Structured
from schemas.errors import WrongRequest
from stages.synthesize.endpoint.lanes import Lanes
from stages.synthesize.endpoint.pace import Verdict
from stages.synthesize.endpoint.quota import asked_wait
from stages.synthesize.endpoint.trouble import Trouble
from stages.synthesize.endpoint.wire import PATHS, one_line
from stages.synthesize.endpoint.wire import FailureReason as R


class TooLarge(Exception):
    """The body passed its cap, or came in an encoding that hides its size."""


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._stream:
            seen += len(chunk)
            if seen > self._most:
                raise TooLarge(f"the body is longer than {self._most} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def connect(config: EndpointConfig, key: str, most: int = 0) -> openai.AsyncOpenAI:
    """The client: no retries of its own, no redirects (they would carry the key), no compressed bodies (bombs).

    `most`: bytes of one body, instead of the config's."""
    timing = config.timing

    async def cap(response: httpx2.Response) -> None:
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise TooLarge(f"the body is {encoding[:20]}-encoded, though identity was asked for")
        stream = _Capped(response.stream, most or config.reply_bytes_most)  # pyright: ignore[reportArgumentType]
        response.stream = stream

    http = httpx2.AsyncClient(
        timeout=httpx2.Timeout(timing.request_s, connect=timing.connect_s, pool=None),
        limits=httpx2.Limits(max_connections=timing.max_in_flight, max_keepalive_connections=timing.max_in_flight),
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        event_hooks={"response": [cap]},
        transport=None if getproxies() else Lanes(),  # a transport of one's own would pass by the environment's proxies
    )
    return openai.AsyncOpenAI(api_key=key, base_url=config.base_url, max_retries=0, http_client=http)


def from_connection(error: openai.APIConnectionError | httpx2.TransportError) -> Trouble:
    """A request that got no whole answer. Bodies that are streamed end in httpx2's own error."""
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    said = one_line(f"{type(cause).__name__}: {cause}")
    if isinstance(cause, (httpx2.ConnectTimeout, httpx2.ConnectError)):
        return Trouble(R.unreachable, said, Verdict.fault, billed=False)
    if isinstance(cause, httpx2.TimeoutException):
        return Trouble(R.timeout, said, Verdict.overload)
    return Trouble(R.reset, said, Verdict.fault)


def from_status(error: openai.APIStatusError, config: EndpointConfig) -> Trouble:
    """A status that is no success. Raises WrongRequest where no request can ever succeed."""
    status, code = error.status_code, str(error.code or error.type or "")
    said = one_line(f"{status} {code} {error.message}")
    _refuse(error, config, said)
    if status == 429:
        return Trouble(R.rate_limited, said, Verdict.limited, billed=False, wait=asked_wait(error.response.headers))
    if status >= 500 or status in (408, 409, 425):
        verdict = Verdict.overload if status in (408, 503, 504, 529) else Verdict.fault
        reason = R.timeout if status in (408, 504) else R.server_error
        wait = asked_wait(error.response.headers)
        if status == 501 and _about_format(error):
            return Trouble(R.bad_request, said, Verdict.ok, billed=False, format_refused=True)
        return Trouble(reason, said, verdict, billed=False, wait=wait)
    if _filtered(error):
        return Trouble(R.content_filter, said, Verdict.ok, billed=False, final=True)
    refused = status in (400, 415, 422) and _about_format(error)
    return Trouble(R.bad_request, said, Verdict.ok, billed=False, final=not refused, format_refused=refused)


def _refuse(error: openai.APIStatusError, config: EndpointConfig, said: str) -> None:
    status, text = error.status_code, f"{error.code} {error.type} {error.message}".lower()
    if status == 401 or (status == 403 and not _filtered(error)):
        held = (
            f"the key in {config.api_key_env}" if config.api_key_env else "a request without a key (api_key_env: null)"
        )
        raise WrongRequest(
            f"{config.base_url} refused {held}: {said}", "set a valid key that may use this model, and start again"
        )
    if status == 402 or "insufficient_quota" in text:
        raise WrongRequest(f"the account at {config.base_url} has no money left: {said}", "top it up, and start again")
    if status == 404 and ("model" in text):
        raise WrongRequest(
            f"{config.base_url} has no model {config.model!r}: {said}",
            f"choose one that it lists under {config.base_url}/models",
        )
    if status in (404, 405) or 300 <= status < 400:
        raise WrongRequest(
            f"{config.base_url}{PATHS[config.api]} answered {said}",
            "correct base_url; most servers want it to end in /v1",
        )


def _filtered(error: openai.APIStatusError) -> bool:
    text = f"{error.code} {error.type} {error.message}".lower()
    return any(word in text for word in ("content_filter", "content_policy", "moderation", "responsibleaipolicy"))


def _about_format(error: openai.APIStatusError) -> bool:
    text = f"{error.param} {error.message}".lower()
    return any(
        word in text for word in ("response_format", "json_schema", "json_object", "structured output", "text.format")
    )


def weaker(mode: Structured) -> Structured | None:
    """The next mode that asks less of the server."""
    return {Structured.json_schema: Structured.json_object, Structured.json_object: Structured.none}.get(mode)


async def exchange(
    client: openai.AsyncOpenAI, path: str, sent: dict[str, Any], attempt: str
) -> tuple[bytes, httpx2.Headers]:
    """One request, no retry: the body's bytes and the headers. Raises openai's errors and TooLarge."""
    headers = {"X-Client-Request-Id": attempt}
    # Not chat.completions.create: it walks the body against its types first, a tenth of the CPU a request takes.
    found = await client.post(path, cast_to=httpx2.Response, body=sent, options={"headers": headers})
    return found.content, found.headers
