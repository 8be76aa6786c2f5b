"""Which bytes a Range header asks for (RFC 9110 §14), and how several of them are laid out. Decides; sends nothing.

Whatever is not understood is answered with the whole: §14.2 lets a server ignore the header, and a client that gets
200 starts afresh.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pyproxy.model import Sha256

RANGES_LIMIT: Final = 16
"""Ranges that one request may name; with more, the whole is sent."""

# Far more than sixteen ranges of nineteen digits take.
_HEADER_LIMIT: Final = 2048
# No file is as long as this. Longer numbers are cut to it before they become integers: int() of a long text is slow.
_ENDLESS: Final = 10**18
_OWS: Final = " \t"
_CRLF: Final = "\r\n"

_UNIT = re.compile(r"bytes=", re.IGNORECASE | re.ASCII)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Whole:
    """No range, or none that is worth honouring: 200 and everything."""


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """No byte of it is there: 416 with `Content-Range: bytes */size`."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes (at least one) from `start`, all within the file."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        """The offset behind the last byte."""
        return self.start + self.length

    def content_range(self, size: int) -> str:
        """The value of Content-Range in a file of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def unsatisfied(size: int) -> str:
    """The value of Content-Range in a 416."""
    return f"bytes */{size}"


def ranges_of(header: str | None, size: int) -> Whole | Unsatisfiable | tuple[ByteRange, ...]:
    """What to send of `size` bytes: the ranges in the order asked for, those left out that lie behind the end.

    A tuple is never empty, and its ranges never overlap, so they are never more than the file. One range is answered as
    a plain 206, several as multipart/byteranges.
    """
    if header is None or len(header) > _HEADER_LIMIT or not (unit := _UNIT.match(header)):
        return Whole()
    # §5.6.1.2: empty elements of a list are ignored.
    specs = [spec for element in header[unit.end() :].split(",") if (spec := element.strip(_OWS))]
    if not specs or len(specs) > RANGES_LIMIT:
        return Whole()
    found: list[ByteRange] = []
    for spec in specs:
        parts = _SPEC.match(spec)
        if parts is None:
            return Whole()
        first, last = parts.groups()
        if first and last and _number(last) < _number(first):
            return Whole()  # §14.1.1: such an int-range is invalid
        if first:
            start, stop = _number(first), min(_number(last) + 1, size) if last else size
        elif last:
            start, stop = max(0, size - _number(last)), size
        else:
            return Whole()
        if start < stop:
            found.append(ByteRange(start, stop - start))
        elif not first and size == 0 and _number(last) > 0:
            return Whole()  # §14.1.2 calls it satisfiable, and no Content-Range can name nothing
    if not found:
        return Unsatisfiable()
    # §14.2 lets a server ignore overlapping ranges: no client needs them, and they make large answers of small files.
    if any(one.stop > other.start for one, other in pairwise(sorted(found, key=lambda part: part.start))):
        return Whole()
    return tuple(found)


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return _ENDLESS if len(digits) > len(str(_ENDLESS)) - 1 else int(digits or "0")


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart/byteranges body: each head, then its range's bytes, and the tail. `length` counts them all."""

    content_type: str
    heads: tuple[bytes, ...]
    tail: bytes
    length: int


def multipart(ranges: Sequence[ByteRange], size: int, *, content_type: str, digest: Sha256) -> Multipart:
    """How several ranges of a file of `size` bytes are laid out (§14.6).

    The boundary is made from the file's digest: a repeated request gets the same bytes, and no file can hold it, for
    that would be a file that knows 128 bits of its own SHA-256.
    """
    boundary = f"pyproxy-{digest[:32]}"
    begin = f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: "
    heads = tuple(
        f"{'' if at == 0 else _CRLF}{begin}{part.content_range(size)}\r\n\r\n".encode("ascii")
        for at, part in enumerate(ranges)
    )
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    length = sum(map(len, heads)) + sum(part.length for part in ranges) + len(tail)
    return Multipart(f"multipart/byteranges; boundary={boundary}", heads, tail, length)
