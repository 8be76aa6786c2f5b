"""multipart/form-data (RFC 7578, RFC 2046 §5.1) as it comes: bytes in, parts out. No I/O, and a bound on all it holds.

aiohttp's reader is not used: it takes bytes through its own stream only, fails on `_charset_`, raises five kinds of
error and one by `assert`, and lets what stands behind the end pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from pyproxy.model import printable
from pyproxy.upload.parameters import parameters_of
from pyproxy.upload.refusal import UploadRefused

_HEAD_LIMIT: Final = 8192
_HEADERS_LIMIT: Final = 16
_PREAMBLE_LIMIT: Final = 1024
_BLANKS: Final = b" \t"

# RFC 2046: at most 70 characters of these, none a blank at the end.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z", re.ASCII)
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\Z")

# "Senders SHOULD NOT" encode (RFC 7578 §4.7), and no client of an index does.
_PLAIN: Final = {"binary", "8bit", "7bit"}


@dataclass(frozen=True, slots=True)
class Part:
    """What the head of a part says. `charset` is None where it says none."""

    name: str
    filename: str | None
    charset: str | None


class End(Enum):
    """What closes a part."""

    PART = auto()


Event: TypeAlias = Part | bytes | End
"""A part's head, then its content in pieces, then its end."""


class _State(Enum):
    PREAMBLE = auto()
    LINE = auto()  # behind a boundary: another part follows, or the end
    HEAD = auto()
    BODY = auto()
    DONE = auto()


class Multipart:
    """A form on its way. `finished` tells whether its last boundary has come."""

    def __init__(self, boundary: str) -> None:
        """Raises UploadRefused for what no boundary can be."""
        if not _BOUNDARY.match(boundary):
            raise UploadRefused("the form's boundary is missing or malformed")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first boundary may be the body's first bytes: its line break is taken as read.
        self._held = b"\r\n"
        self._at = 0
        self._state = _State.PREAMBLE

    @property
    def finished(self) -> bool:
        return self._state is _State.DONE

    def feed(self, data: bytes) -> Iterator[Event]:
        """What is known now that these bytes have come; to be used up before the next. Raises UploadRefused."""
        self._held, self._at = self._held[self._at :] + data, 0
        steps = {
            _State.PREAMBLE: self._preamble,
            _State.LINE: self._line,
            _State.HEAD: self._head,
            _State.BODY: self._body,
        }
        while self._state in steps:
            before = self._state
            yield from steps[before]()
            if self._state is before:
                return
        if self._held[self._at :].strip(b" \t\r\n"):
            raise UploadRefused("the form has something behind its end")
        self._at = len(self._held)

    def _preamble(self) -> Iterator[Event]:
        found = self._held.find(self._delimiter)
        if (found if found >= 0 else len(self._held)) > _PREAMBLE_LIMIT:
            raise UploadRefused("the form does not begin with its boundary")
        if found >= 0:
            self._at = found + len(self._delimiter)
            self._state = _State.LINE
        yield from ()

    def _line(self) -> Iterator[Event]:
        rest = self._held[self._at : self._at + _HEAD_LIMIT]
        if rest.startswith(b"--"):
            self._at += 2
            self._state = _State.DONE
        elif (end := rest.find(b"\r\n")) >= 0 and not rest[:end].strip(_BLANKS):
            # Its line break stays: it may be the first half of the empty line behind a head without any header.
            self._at += end
            self._state = _State.HEAD
        elif end >= 0 or len(rest) == _HEAD_LIMIT or rest.strip(b" \t\r-"):
            raise UploadRefused("the form's boundary is part of its content")
        yield from ()

    def _head(self) -> Iterator[Event]:
        end = self._held.find(b"\r\n\r\n", self._at, self._at + _HEAD_LIMIT)
        if end >= 0:
            part = _part(self._held[self._at + 2 : end])
            self._at = end + 4
            self._state = _State.BODY
            yield part
        elif len(self._held) - self._at >= _HEAD_LIMIT:
            raise UploadRefused("the headers of a part of the form are too long")

    def _body(self) -> Iterator[Event]:
        found = self._held.find(self._delimiter, self._at)
        # Where there is no boundary, its first bytes may be the last that have come.
        end = found if found >= 0 else len(self._held) - len(self._delimiter) + 1
        if end > self._at:
            piece = self._held[self._at : end]
            self._at = end
            yield piece
        if found >= 0:
            self._at = found + len(self._delimiter)
            self._state = _State.LINE
            yield End.PART


def _part(head: bytes) -> Part:
    headers = _headers(head)
    kind, parameters = parameters_of(headers.get("content-disposition", ""))
    name = parameters.get("name")
    if kind != "form-data" or name is None:
        raise UploadRefused("a part of the form has no name")
    content_type, more = parameters_of(headers.get("content-type", "text/plain"))
    if content_type.startswith("multipart/"):
        raise UploadRefused("the form has another form in it")
    if headers.get("content-transfer-encoding", "binary").lower() not in _PLAIN or "content-encoding" in headers:
        raise UploadRefused(f"the form's field {printable(name)} is encoded")
    return Part(name, parameters.get("filename"), more.get("charset"))


def _headers(head: bytes) -> Mapping[str, str]:
    try:
        lines = head.decode("utf-8").split("\r\n") if head else []
    except UnicodeDecodeError as exc:
        raise UploadRefused("the headers of a part of the form are not UTF-8") from exc
    found: dict[str, str] = {}
    for line in lines:
        header = _HEADER.match(line)
        if header is None or header[1].lower() in found or len(found) == _HEADERS_LIMIT:
            raise UploadRefused("the headers of a part of the form are malformed, or too many")
        found[header[1].lower()] = header[2].rstrip()
    return found
