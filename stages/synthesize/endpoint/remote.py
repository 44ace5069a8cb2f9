"""The provider's side of batches, through the openai client: files and batches, tried again, judged as they come."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai

from schemas.endpoint import EndpointConfig
from schemas.errors import WrongRequest
from stages.synthesize.endpoint.book import Batch
from stages.synthesize.endpoint.pace import Pace, Verdict
from stages.synthesize.endpoint.transport import TooLarge, connect, from_connection, from_status
from stages.synthesize.endpoint.trouble import Trouble
from stages.synthesize.endpoint.wire import PATHS, FailureReason, one_line

Object = dict[str, Any]
NAME = "pairmill"
"""Key of our id in a batch's metadata."""
_EARLIER_S = 3600
"""How far a provider's clock may be behind ours."""


class Remote:
    """Every method tries as often as the config says, and returns a Trouble where that did not help.

    Raises WrongRequest where nothing can help (key, no Batch API)."""

    def __init__(self, config: EndpointConfig, key: str, most: int) -> None:
        """`most`: bytes of one downloaded file."""
        self._config, self._key = config, key
        self._pace = Pace(config.timing)
        self._client = connect(config, key, most)

    async def close(self) -> None:
        await self._client.close()

    async def upload(self, path: Path) -> str | Trouble:
        """The file's id. A file that was uploaded twice costs nothing."""

        async def send() -> Object | Trouble:
            raw = await self._client.files.with_raw_response.create(file=path, purpose="batch")
            return _object(raw.http_response.content)

        return _id(await self._tried(send, "/files"))

    async def create(self, batch: Batch, file: str) -> str | Trouble:
        """The batch's id. Where an answer is lost, the provider's list is asked before anything is sent again."""

        async def send() -> Object | Trouble:
            raw = await self._client.batches.with_raw_response.create(
                input_file_id=file,
                endpoint=f"/v1{PATHS[batch.api]}",  # pyright: ignore[reportArgumentType]
                completion_window="24h",
                metadata={NAME: batch.uid},
                extra_headers={"Idempotency-Key": batch.uid},
            )
            return _object(raw.http_response.content)

        async def looked() -> Object | Trouble | None:
            return await self.find(batch)

        return _id(await self._tried(send, "/batches", looked))

    async def find(self, batch: Batch) -> Object | Trouble | None:
        """The batch with our id in its metadata; None: the provider has none. A second one is called off."""
        found: list[Object] = []

        async def send() -> Object:
            found.clear()
            async for one in self._client.batches.list(limit=100):
                if int(getattr(one, "created_at", None) or batch.at) < batch.at - _EARLIER_S:
                    break  # newest first
                if (getattr(one, "metadata", None) or {}).get(NAME) == batch.uid:
                    found.append({"id": one.id})
            return {}

        met = await self._tried(send, "/batches")
        if isinstance(met, Trouble):
            return met
        for extra in found[:-1]:
            await self._cancel(str(extra["id"]))
        return found[-1] if found else None

    async def _cancel(self, name: str) -> None:
        async def send() -> Object:
            await self._client.batches.cancel(name)
            return {}

        await self._tried(send, f"/batches/{name}/cancel")

    async def look(self, batch: Batch) -> Object | Trouble:
        """The batch as the provider has it."""

        async def send() -> Object | Trouble:
            raw = await self._client.batches.with_raw_response.retrieve(batch.id)
            return _object(raw.http_response.content)

        return await self._tried(send, f"/batches/{batch.id}")

    async def fetch(self, file: str, path: Path) -> Trouble | None:
        """One file's whole content, on the disk."""

        async def send() -> Object:
            async with self._client.files.with_streaming_response.content(file) as raw:
                with path.open("wb") as out:
                    async for chunk in raw.iter_bytes():
                        out.write(chunk)
            return {}

        met = await self._tried(send, f"/files/{file}/content")
        return met if isinstance(met, Trouble) else None

    async def _tried(
        self,
        send: Callable[[], Awaitable[Object | Trouble]],
        path: str,
        looked: Callable[[], Awaitable[Object | Trouble | None]] | None = None,
    ) -> Object | Trouble:
        """`looked`: asked whenever nobody knows whether `send` had its effect, twice, since lists may lag."""
        met: Object | Trouble = Trouble(FailureReason.unreachable, "not tried", Verdict.fault)
        for turn in range(self._config.timing.tries):
            met = await self._once(send, path)
            if not isinstance(met, Trouble) or met.final:
                return met
            unclear = met.billed is None or met.reason in (FailureReason.server_error, FailureReason.timeout)
            for _ in range(2 if looked is not None and unclear else 0):
                await asyncio.sleep(self._pace.backoff(turn))
                assert looked is not None
                there = await looked()
                if there is not None:
                    return replace(there, billed=None, final=False) if isinstance(there, Trouble) else there
            if looked is not None:
                met = replace(met, billed=False)
            await asyncio.sleep(min(met.wait or 0.0, self._config.timing.wait_most_s) + self._pace.backoff(turn))
        return met

    async def _once(self, send: Callable[[], Awaitable[Object | Trouble]], path: str) -> Object | Trouble:
        try:
            return await send()
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            return from_connection(error)
        except openai.APIStatusError as error:
            return self._status(error, path)
        except TooLarge as error:
            return Trouble(FailureReason.too_large, str(error), Verdict.ok, final=True)
        except (ValueError, openai.APIResponseValidationError) as error:  # a list that is no JSON, or no list
            return Trouble(FailureReason.malformed, one_line(f"{path}: {error}"), Verdict.fault)

    def _status(self, error: openai.APIStatusError, path: str) -> Trouble:
        said = one_line(f"{error.status_code} {error.message}")
        said = said if self._config.api_key_env is None else said.replace(self._key, "(key)")
        if error.status_code in (404, 405) and path in ("/files", "/batches"):
            raise WrongRequest(
                f"{self._config.base_url} has no Batch API: {path} answered {said}", "remove synthesize.batch"
            )
        if error.status_code == 404:
            return Trouble(FailureReason.bad_request, f"{path} is gone: {said}", Verdict.ok, final=True)
        try:
            return from_status(error, self._config)
        except WrongRequest as wrong:
            raise WrongRequest(wrong.what.replace(self._key, "(key)"), wrong.remedy) from None


def _object(data: bytes) -> Object | Trouble:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Trouble(FailureReason.invalid_json, one_line(f"{error}; {data[:80]!r}"), Verdict.fault)
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        return Trouble(FailureReason.malformed, one_line(f"no object with an id: {data[:80]!r}"), Verdict.fault)
    return found


def _id(met: Object | Trouble) -> str | Trouble:
    return met if isinstance(met, Trouble) else str(met["id"])
