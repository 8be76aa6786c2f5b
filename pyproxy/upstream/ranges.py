"""What the head of a file's answer promises: which bytes, of how many. Headers in, values out (RFC 9110 §14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from pyproxy.upstream.trouble import Trouble, wrong
from pyproxy.upstream.values import Validators

_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of a body: from `start`, `length` of them, of a file of `total`. None: not told."""

    start: int
    length: int | None
    total: int | None


def asked(start: int, end: int | None) -> str | None:
    """The Range field for the bytes from `start` to `end` inclusive; None for the whole file."""
    if start == 0 and end is None:
        return None
    return f"bytes={start}-{'' if end is None else end}"


def span(status: int, headers: Mapping[str, str], length: int | None, *, start: int, end: int | None) -> Span:
    """Raises Trouble for a part that is not the one asked for."""
    if status == HTTPStatus.OK:
        return Span(0, length, length)
    if asked(start, end) is None:
        raise wrong("answered a part of the file, where all of it was asked for")
    match = _CONTENT_RANGE.match(headers.get("Content-Range", "").strip())
    if match is None:
        raise Trouble("answered a part of the file without saying which")
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first != start or last < first or (end is not None and last > end):
        raise wrong("answered another part of the file than was asked for")
    if total is not None and last >= total:
        raise wrong("answered a part that lies beyond the file's end")
    if end is None and total is not None and last != total - 1:
        raise wrong("answered less of the file than was asked for")
    if length is not None and length != last - first + 1:
        raise wrong("answered a part whose length is not the one it names")
    return Span(first, last - first + 1, total)


def check_condition(if_range: str | None, told: Validators) -> None:
    """Raises Trouble for a part of another state of the file than the one that was asked about."""
    # A strong entity tag alone says so for certain; a date may be spelt in several ways.
    if if_range is not None and if_range.startswith('"') and told.etag is not None and told.etag != if_range:
        raise wrong("answered a part of another state of the file")


def total_of_none(headers: Mapping[str, str]) -> int | None:
    """The file's bytes, as an answer tells them that has no part to give (416)."""
    match = re.match(r"bytes\s+\*/([0-9]{1,18})\Z", headers.get("Content-Range", "").strip(), re.IGNORECASE)
    return int(match[1]) if match else None


def accepted(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the remote says, or has just shown, that it gives parts."""
    units = {unit.strip().lower() for unit in headers.get("Accept-Ranges", "").split(",")}
    return status == HTTPStatus.PARTIAL_CONTENT or "bytes" in units
