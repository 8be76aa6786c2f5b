"""Instants as people and pages write them: RFC 3339, and dates for the end of that day in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

_INSTANT = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt](?P<time>\d{2}:\d{2}:\d{2})(?P<fraction>\.\d{1,30})?(?P<zone>[Zz]|[+-]\d{2}:\d{2}))?\Z",
    re.ASCII,
)
_DAY = timedelta(days=1)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def as_instant(text: str) -> float | None:
    """Seconds since the epoch; None where it is neither a date nor an RFC 3339 instant, or none that UTC can write.

    A date stands for the last microsecond of its day in UTC, so that what came on that day belongs to it.
    """
    match = _INSTANT.match(text)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match["day"])
        if match["time"] is None:
            return (datetime.combine(day, time.min, UTC) + _DAY).timestamp() - 1e-6
        # A leap second is the last of its minute: no clock here counts it.
        clock = match["time"].replace(":60", ":59") if match["time"].endswith(":60") else match["time"]
        fraction = (match["fraction"] or "")[:7]
        found = datetime.fromisoformat(f"{day}T{clock}{fraction}{match['zone'].upper()}").astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(found, _LAST)


def as_uploaded(text: str | None) -> float | None:
    """When a file was uploaded, in seconds since the epoch; None where its page does not tell."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def show_instant(seconds: float) -> str:
    """As RFC 3339 has it, in UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
