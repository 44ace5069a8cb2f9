"""A batch's files: JSONL, one request or one outcome a line (platform.openai.com/docs/guides/batch).

Outcomes come in any order, in an output file and an error file; `custom_id` is the attempt that the account knows.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import openai

from schemas.endpoint import EndpointConfig
from stages.synthesize.endpoint.pace import Verdict
from stages.synthesize.endpoint.transport import from_status
from stages.synthesize.endpoint.trouble import Trouble
from stages.synthesize.endpoint.wire import PATHS, Answer, FailureReason, one_line, read_object


def line(attempt: str, api: str, sent: Mapping[str, Any]) -> bytes:
    """One request."""
    told = {"custom_id": attempt, "method": "POST", "url": f"/v1{PATHS[api]}", "body": sent}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def outcomes(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(custom_id, line) of what can be read; the rest is as if it were missing."""
    with path.open("rb") as file:
        for text in file:
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and isinstance(found.get("custom_id"), str):
                yield found["custom_id"], found


def meaning(found: Mapping[str, Any], api: str, config: EndpointConfig) -> Answer | Trouble:
    """What one line says. Raises WrongRequest where it says that no request can succeed."""
    response, error = found.get("response"), found.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        status, body = response["status_code"], response.get("body")
        if not 200 <= status < 300:
            return as_status(status, body, config)
        if not isinstance(body, dict):
            return Trouble(FailureReason.malformed, "the line's body is not an object", Verdict.fault)
        met = read_object(body, api)
        if isinstance(met, Answer):
            return met
        return Trouble(met.reason, met.evidence, Verdict.fault, usage=met.usage)
    code = error.get("code") if isinstance(error, dict) else None
    said = one_line(f"{code}: {error.get('message')}" if isinstance(error, dict) else f"no answer in it: {error}")
    late = code in ("batch_expired", "batch_cancelled")
    return Trouble(FailureReason.expired if late else FailureReason.server_error, said, Verdict.fault, billed=False)


def as_status(status: int, body: Any, config: EndpointConfig) -> Trouble:
    """The same as if this status had come over the wire."""
    told = body.get("error", body) if isinstance(body, dict) else None
    told = told if isinstance(told, dict) else {"message": str(body)[:300]}
    request = httpx2.Request("POST", config.base_url)
    answered = httpx2.Response(max(status, 400), request=request)
    return from_status(openai.APIStatusError(str(told.get("message")), response=answered, body=told), config)
