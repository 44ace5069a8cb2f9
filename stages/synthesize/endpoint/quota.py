"""What an endpoint's headers say about waiting: Retry-After (RFC 9110 10.2.3) and the x-ratelimit quotas."""

import math
import re
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a refusal asks for: retry-after-ms, or Retry-After in seconds or as a date. None: for none."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or not told:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def quota_wait(headers: Mapping[str, str], need: int, since: int = 0) -> float:
    """Seconds until the x-ratelimit quotas allow a request of `need` tokens; 0: they do now.

    `since`: requests that left after the one that is answered, and that its figures do not know of."""
    wait = 0.0
    for what, least in (("requests", 1 + since), ("tokens", need * (1 + since))):
        remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"))
        if remaining is not None and remaining < least:
            wait = max(wait, _duration(headers.get(f"x-ratelimit-reset-{what}")) or 0.0)
    return wait


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _duration(text: str | None) -> float | None:
    """`6m0s`, `1.5s`, `20ms` (OpenAI); seconds, a Unix time or an ISO time (others)."""
    number = _number(text)
    if number is not None:
        return number if number < 10**9 else max(0.0, (number / 1000 if number > 10**12 else number) - time.time())
    if not text:
        return None
    if re.fullmatch(r"(\d{1,9}(\.\d{1,9})?(ms|h|m|s))+", text.strip()):
        return sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text))
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
