"""Instants as people and pages write them: RFC 3339, and dates for the end of that day in UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone

_INSTANT = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt](?P<time>\d{2}:\d{2}:\d{2})(?P<fraction>\.\d{1,30})?(?P<zone>[Zz]|[+-]\d{2}:\d{2}))?\Z",
    re.ASCII,
)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_ALMOST = timedelta(days=1) - timedelta.resolution  # no zone is further from UTC
_EARLIEST = datetime.min.replace(tzinfo=timezone(_ALMOST))
_LATEST = datetime.max.replace(tzinfo=timezone(-_ALMOST))


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
            return min(datetime.combine(day, time.max, UTC).timestamp(), _LAST)
        # A leap second is the last of its minute: no clock here counts it.
        clock = match["time"].replace(":60", ":59") if match["time"].endswith(":60") else match["time"]
        fraction = (match["fraction"] or "")[:7]
        found = datetime.fromisoformat(f"{day}T{clock}{fraction}{match['zone'].upper()}").astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(found, _LAST)


def as_uploaded(text: str | None) -> float | None:
    """When a file was uploaded, in seconds since the epoch; None where its page does not tell."""
    moment = as_moment(text)
    return None if moment is None else moment.timestamp()


def as_moment(text: str | None) -> datetime | None:
    """The same with its zone: UTC where the page names none."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def as_moments(texts: Sequence[str | None]) -> list[datetime | None]:
    """The same of many at once. As pages usually spell them, with a Z, each in 0.15 µs."""
    read = datetime.fromisoformat
    try:
        return [read(text) if text and text[-1] == "Z" else as_moment(text) for text in texts]
    except ValueError:
        return [as_moment(text) for text in texts]


def shortly_before(instant: float) -> datetime:
    """A moment within the second before it, or the earliest or latest that a text can name. For coarse comparisons."""
    try:
        return datetime.fromtimestamp(instant - 1, UTC)
    except (ValueError, OverflowError, OSError):
        return _EARLIEST if instant < 0 else _LATEST


def show_instant(seconds: float) -> str:
    """As RFC 3339 has it, in UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
