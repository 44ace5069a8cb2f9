"""OpenAI's Responses API: the same requests and replies in its words (platform.openai.com/docs/api-reference).

It knows no `seed`; replies are not to be stored by the provider (`store: false`), as with chat completions.
"""

from collections.abc import Mapping
from typing import Any

from schemas.conversation import FailureReason
from stages.synthesize.endpoint.wire import Answer, Tokens, Unreadable, clean, count_tokens, one_line

_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


def to_responses(chat: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /responses that asks what this body of /chat/completions asks."""
    sent: dict[str, Any] = {"model": chat["model"], "input": [_message(m) for m in chat["messages"]], "store": False}
    limit = chat.get("max_completion_tokens", chat.get("max_tokens"))
    sent.update({k: chat[k] for k in ("temperature", "top_p") if k in chat})
    if limit is not None:
        sent["max_output_tokens"] = limit
    form = chat.get("response_format")
    if form is not None:
        schema = form.get("json_schema", {})
        sent["text"] = {"format": {"type": form["type"], **schema}}
    return sent


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message["role"], message.get("content")
    if not isinstance(content, list):
        return {"role": role, "content": content or ""}
    kind = "output_text" if role == "assistant" else "input_text"
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.get("type") == "image_url":
            image = part["image_url"]
            parts.append({"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")})
        else:
            parts.append({"type": kind, "text": part.get("text", "")})
    return {"role": role, "content": parts}


def read_response(found: dict[str, Any]) -> Answer | Unreadable:
    """A response object from the wire. Raises nothing."""
    usage = _usage(found.get("usage"))
    status = found.get("status")
    if found.get("error") or status in ("failed", "cancelled"):
        return Unreadable(FailureReason.server_error, one_line(f"status {status}: {found.get('error')}"), usage)
    output = found.get("output")
    if not isinstance(output, list):
        return Unreadable(FailureReason.malformed, "output is not a list", usage)
    texts, refusals = _said(output)
    details = found.get("incomplete_details")
    why = details.get("reason") if isinstance(details, dict) else None
    finish = "stop" if status in ("completed", None) else _FINISH.get(str(why), clean(str(why or status))[:40])
    if texts or refusals:
        return Answer(clean("".join(texts or refusals)), finish, not texts, usage)
    if finish == "content_filter":
        return Answer("", finish, False, usage)
    return Unreadable(FailureReason.empty_choices, f"the response holds no text; status={status!s:.40} {why}", usage)


def _said(output: list[Any]) -> tuple[list[str], list[str]]:
    """Texts and refusals of all messages; reasoning and tool items are passed over."""
    texts: list[str] = []
    refusals: list[str] = []
    for item in output:
        content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("text"), str) and part["text"]:
                texts.append(part["text"])
            elif isinstance(part.get("refusal"), str) and part["refusal"]:
                refusals.append(part["refusal"])
    return texts, refusals


def _usage(found: Any) -> Tokens | None:
    if not isinstance(found, dict):
        return None
    return count_tokens(found.get("input_tokens"), found.get("output_tokens"), found.get("input_tokens_details"))
