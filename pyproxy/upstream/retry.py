"""When a request is sent again, and after which pause: decided from statuses, headers and numbers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from pyproxy.upstream.trouble import Trouble, busy, failed_further_up, refused

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
SMALL_RETRY_AFTER = 5.0
"""A remote that asks for more seconds than these is left alone instead of waited for."""

# 408: the connection was idle too long for the remote. 520 to 529: what front ends say of their origin.
_TRANSIENT = frozenset({408, 500, 502, 503, 504, *range(520, 530)})


def pause(attempt: int, draw: float) -> float:
    """Seconds before attempt `attempt + 1` (counted from 0), drawn from the whole range: exponential, full jitter."""
    longest: float = FIRST_PAUSE * 2 ** min(attempt, 16)
    return draw * min(LONGEST_PAUSE, longest)


def refusal(status: int, headers: Mapping[str, str], *, now: datetime) -> Trouble:
    """What an answer that is no success, no redirect and not "missing" means for the next attempt."""
    wait = seconds_until(headers.get("Retry-After"), now=now)
    if status == HTTPStatus.BAD_GATEWAY and is_final(headers.get("Proxy-Status")):
        return failed_further_up(status)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and wait is not None):
        return busy(status, wait)
    return refused(status, again=status in _TRANSIENT)


def seconds_until(retry_after: str | None, *, now: datetime) -> float | None:
    """What a Retry-After field means in seconds (RFC 9110 §10.2.3); None where it says nothing of use."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())


def is_final(proxy_status: str | None) -> bool:
    """Whether a pyproxy says that its own remote failed (RFC 9209): it has done the retries already."""
    if proxy_status is None:
        return False
    for member in proxy_status.split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        if name.strip('"').lower() == "pyproxy" and any(part.lower().startswith("error=") for part in parameters):
            return True
    return False
