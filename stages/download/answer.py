"""What an HTTP answer's headers say, read once the body begins (so that a trailer cannot change them)."""

import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

_STATUS = re.compile(rb"HTTP/[0-9.]+ +([0-9]{3})")

# Directives whose own syntax has a colon (Google's robots meta specification): not a user agent's name.
_VALUED = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")


@dataclass(slots=True)
class Answer:
    """Status and headers (lower-case name → values) of the last answer; status None where none came."""

    status: int | None = None
    headers: dict[str, list[str]] = field(default_factory=dict)


def parse_answer(raw: bytes) -> Answer:
    """The last header block of what came; interim answers (1xx) before it are no answers."""
    answer, between = Answer(), True
    for line in raw.split(b"\n"):
        text = line.rstrip(b"\r")
        if between and (match := _STATUS.match(text)):
            status = int(match[1])
            answer, between = Answer(status if status >= 200 else None), False
        elif not text:
            between = True
        elif not between:
            name, colon, value = text.partition(b":")
            if colon:
                answer.headers.setdefault(_text(name).strip().lower(), []).append(_text(value).strip())
    return answer


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def retry_after(values: list[str]) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3); None where it says nothing readable."""
    if not values:
        return None
    text = values[0]
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def disallowing(values: list[str], token: str, directives: Collection[str]) -> str | None:
    """The first X-Robots-Tag directive that forbids us, else None.

    As img2dataset's `is_disallowed`: a value may begin with `agent:`, and then counts for that agent alone. Unlike
    there, a colon that belongs to a directive (`noindex, max-image-preview: large`) is not taken for an agent's.
    """
    wanted = {d.strip().lower() for d in directives}
    for value in values:
        agent, colon, rest = value.lower().partition(":")
        prefixed = bool(colon) and "," not in agent and agent.strip() not in _VALUED
        if prefixed and agent.strip() != token.strip().lower():
            continue
        found = [d.strip() for d in (rest if prefixed else value.lower()).split(",")]
        hit = next((d for d in found if d in wanted), None)
        if hit is not None:
            return hit
    return None
