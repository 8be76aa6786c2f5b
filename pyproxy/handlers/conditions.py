"""Whether a conditional request (RFC 9110 §13) is answered with 200, 304 or 412, and whether its Range still counts.

Decides from header values alone. All values are as they stand in the message, several lines of one header joined by
", "; an `etag` is ours and comes with its quotes. `last_modified` is the Last-Modified that the answer would carry:
None where none is sent, and then no date in a request is ever right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

_OWS: Final = " \t"
# §8.8.3: etagc is any visible character but the double quote, and obs-text.
_TAG = re.compile(r'(W/)?("[^"\x00-\x20\x7f]*")')

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# §5.6.7: the date of today's senders, and the two that recipients must accept for ever.
_DATES: Final = (
    re.compile(r"[A-Z][a-z]{2}, (?P<d>[0-9]{2}) (?P<m>[A-Z][a-z]{2}) (?P<y>[0-9]{4}) (?P<t>[0-9:]{8}) GMT", re.ASCII),
    re.compile(r"[A-Z][a-z]{5,8}, (?P<d>[0-9]{2})-(?P<m>[A-Z][a-z]{2})-(?P<y>[0-9]{2}) (?P<t>[0-9:]{8}) GMT", re.ASCII),
    re.compile(r"[A-Z][a-z]{2} (?P<m>[A-Z][a-z]{2}) (?P<d>[ 0-9][0-9]) (?P<t>[0-9:]{8}) (?P<y>[0-9]{4})", re.ASCII),
)


class Verdict(Enum):
    """What the preconditions of a GET or HEAD come to; the value is the status where it is one of theirs."""

    SEND = 200
    """None stands against it: the answer as it would be without them, a range perhaps."""
    NOT_MODIFIED = 304
    FAILED = 412


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditional headers of a request, and its Range."""

    if_match: str | None = None
    if_unmodified_since: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_range: str | None = None
    range: str | None = None


def verdict(asked: Conditions, *, etag: str, last_modified: str | None = None) -> Verdict:
    """In the order of §13.2.2: an entity tag goes before the date that would say the same less exactly."""
    if asked.if_match is not None:
        if not if_match(asked.if_match, etag):
            return Verdict.FAILED
    elif asked.if_unmodified_since is not None and _changed_since(asked.if_unmodified_since, last_modified):
        return Verdict.FAILED
    if asked.if_none_match is not None:
        return Verdict.NOT_MODIFIED if if_none_match(asked.if_none_match, etag) else Verdict.SEND
    if if_modified_since(asked.if_modified_since, last_modified):
        return Verdict.NOT_MODIFIED
    return Verdict.SEND


def wanted_range(asked: Conditions, *, etag: str | None, last_modified: str | None = None) -> str | None:
    """The Range header where it counts: there is one, and If-Range, if any, names what is here."""
    if asked.range is None or not if_range(asked.if_range, etag, last_modified):
        return None
    return asked.range


def if_none_match(header: str | None, etag: str) -> bool:
    """Whether the client has it already (304). Compares weakly (§13.1.2); junk names nothing."""
    if header is None:
        return False
    return header.strip(_OWS) == "*" or any(tag == etag.removeprefix("W/") for _, tag in _tags(header))


def if_match(header: str, etag: str) -> bool:
    """Whether what the client means is still here. Compares strongly (§13.1.1); junk names nothing."""
    return header.strip(_OWS) == "*" or any(not weak and tag == etag for weak, tag in _tags(header))


def if_range(header: str | None, etag: str | None, last_modified: str | None = None) -> bool:
    """Whether a Range still fits what is here (§13.1.5): no If-Range, or exactly ours.

    `etag` is None while there is none to promise (a file still on its way). A weak tag never fits; a date only
    where it is, letter for letter, the Last-Modified that is sent.
    """
    if header is None:
        return True
    value = header.strip(_OWS)
    if value.startswith('"'):
        return value == etag
    return last_modified is not None and value == last_modified and _seconds(value) is not None


def if_modified_since(header: str | None, last_modified: str | None) -> bool:
    """Whether it has not changed since that date (304). No date, two dates or nonsense: it may have (§13.1.3)."""
    if header is None or last_modified is None:
        return False
    since, changed = _seconds(header), _seconds(last_modified)
    return since is not None and changed is not None and changed <= since


def _changed_since(header: str, last_modified: str | None) -> bool:
    """§13.1.4: to be ignored where the date cannot be read or none is known of the thing itself."""
    if last_modified is None:
        return False
    since, changed = _seconds(header), _seconds(last_modified)
    return since is not None and changed is not None and changed > since


def _tags(header: str) -> Iterator[tuple[bool, str]]:
    """The entity tags of a list: whether weak, and the tag with its quotes. Ends where anything else stands."""
    at = 0
    while found := _TAG.match(header, _skipped(header, at)):
        yield found[1] is not None, found[2]
        at = found.end()


def _skipped(header: str, at: int) -> int:
    """Where the next element begins: behind white space and commas, for empty elements count for nothing (§5.6.1.2)."""
    while at < len(header) and header[at] in ", \t":
        at += 1
    return at


def _seconds(value: str) -> float | None:
    """An HTTP date (§5.6.7) in seconds of Unix time, or None."""
    for pattern in _DATES:
        if found := pattern.fullmatch(value.strip(_OWS)):
            break
    else:
        return None
    try:
        clock = datetime.strptime(found["t"], "%H:%M:%S")  # noqa: DTZ007 -- a time of day; the date's zone is GMT
        year = int(found["y"])
        if len(found["y"]) == 2:  # noqa: PLR2004 -- RFC 850 dates have two digits
            year += 2000 if year < 70 else 1900  # noqa: PLR2004 -- as POSIX has it
        month = 1 + _MONTHS.index(found["m"])
        return datetime(year, month, int(found["d"]), clock.hour, clock.minute, clock.second, tzinfo=UTC).timestamp()
    except ValueError:
        return None
