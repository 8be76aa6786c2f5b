"""What becomes of the bytes that a client sends: whole heads, parts of bodies, or refused. No I/O.

aiohttp's parser gets one whole head at a time, the next when the request before is answered. So at most one request of
a connection is parsed or running, answers cannot get out of order, pipelined requests wait as bytes, and how far a head
has come is known. Where a body ends is the parser's to say: nothing here reads a header field.
"""

from __future__ import annotations

from enum import Enum, auto

from aiohttp import hdrs
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from pyproxy.wire import heads
from pyproxy.wire.limits import Limits

PATIENCE = 64 * 1024
"""Bytes that may wait behind a request before reading is paused."""

_SMALL_BODY = 64 * 1024
"""A larger body, where none is expected, costs the connection: reading it to its end is dearer than a new one."""

_FRAMING = 1024 * 1024
"""Bytes of chunk sizes and trailers that a body may have beyond its own number."""


class Reading(Enum):
    """What the next byte from the client belongs to."""

    HEAD = auto()
    BEGUN = auto()  # a head is with aiohttp, which has yet to say what follows it
    LENGTH = auto()  # a body whose length is known
    OPEN = auto()  # a body whose end only the parser finds: chunked
    DEAF = auto()  # nothing: what comes is thrown away


# To look them up in their Enum takes as long as all else that is asked of an intake.
_HEAD, _BEGUN, _LENGTH, _OPEN, _DEAF = Reading


class Intake:
    """The bytes of one connection that aiohttp has not got yet, and what they are."""

    __slots__ = ("_at", "_body", "_fed", "_held", "_left", "_limits", "fault", "last", "reading")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = b""  # from `_at` on
        self._at = 0
        self._body: StreamReader | None = None
        self._left = 0  # bytes of a body of known length that have not come
        self._fed = 0  # bytes of a body of unknown length that have come, framing included
        self.reading = _HEAD
        self.fault = 0
        """The status to refuse with, once `piece` has nothing more to give."""
        self.last = False
        """No request after this one."""

    @property
    def quiet(self) -> bool:
        """Nothing of a request has come, and one may: a head that comes now is the next, from its first byte."""
        return self.reading is _HEAD and self._at >= len(self._held) and not self.last

    @property
    def begun(self) -> bool:
        """A head is with the parser, which has yet to say what it asks."""
        return self.reading is _BEGUN

    @property
    def deaf(self) -> bool:
        """Nothing more is heard."""
        return self.reading is _DEAF

    @property
    def waiting(self) -> int:
        """Bytes held."""
        return len(self._held) - self._at

    def take(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.reading is not _DEAF:
            self._held, self._at = self._held[self._at :] + data, 0

    def stop(self) -> None:
        """Hears no more."""
        self.reading = _DEAF
        self.last = True
        self.fault = 0
        self._held, self._at = b"", 0
        self._body = None

    def piece(self, *, busy: bool) -> bytes | None:
        """The next bytes for aiohttp; None where there are none that it may have, or `fault` is set."""
        if self._at >= len(self._held):
            self._held, self._at = b"", 0
            return None
        if self.reading is _HEAD:
            return None if busy else self._head()
        if self.reading is _LENGTH:
            part = self._held[self._at : self._at + self._left]
            self._at += len(part)
            self._left -= len(part)
            if not self._left:
                self._body_is_whole()
            return part
        if self.reading is _OPEN:
            part = self._held[self._at :]
            self._at = len(self._held)
            self._fed += len(part)
            return part
        return None

    def _head(self) -> bytes | None:
        while self._held.startswith(b"\r\n", self._at):
            self._at += 2  # RFC 9112, 2.2: a server ignores empty lines before a request line
        end = self._held.find(heads.END, self._at)
        if end < 0:
            self._held, self._at = self._held[self._at :], 0
            if self._held not in {b"", b"\r"}:
                self.fault = heads.fault_so_far(self._held, self._limits)
            return None
        head = self._held[self._at : end + 4]
        self._at = end + 4
        self.fault = heads.fault(head, self._limits)
        if self.fault:
            return None
        self.reading = _BEGUN
        return head

    def begin(self, message: RawRequestMessage, body: StreamReader) -> int:
        """What follows the head that aiohttp has parsed. Returns the status to refuse its body with, or 0."""
        self._body, self._fed = body, 0
        self.last = message.should_close or message.upgrade
        self.reading = _HEAD
        if message.method == hdrs.METH_CONNECT:
            # What follows is a tunnel to aiohttp, and nothing to us: the handler refuses it.
            body.feed_eof()
            self.stop()
        elif body.is_eof():
            self._body_is_whole()
        elif message.chunked:
            # Where it ends only the parser knows, so what comes after is not looked at: no request can hide there.
            self.reading, self.last = _OPEN, True
        else:
            self.reading, self._left = _LENGTH, int(message.headers[hdrs.CONTENT_LENGTH])
            if self._left > self._limits.max_body:
                self.last = True
                return 413
            if self._left > _SMALL_BODY and message.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
                self.last = True
        return 0

    def fault_of_body(self, *, parser_failed: bool) -> int:
        """What is wrong with a body of unknown length, now that aiohttp has got a piece of it; also notes its end."""
        if self.reading is not _OPEN or self._body is None:
            return 0
        if self._body.is_eof():
            self._body_is_whole()
            return 0
        if parser_failed:
            return 400
        size = self._body.total_bytes
        return 413 if size > self._limits.max_body or self._fed > 2 * size + _FRAMING else 0

    def _body_is_whole(self) -> None:
        self.reading = _HEAD
        if self.last:
            self.stop()

    @property
    def owes_body(self) -> bool:
        """The client has not sent all of a body that it announced."""
        return self.reading is _LENGTH or self.reading is _OPEN

    @property
    def body_begun(self) -> bool:
        """Some of the body has come."""
        return self._body is not None and (self._body.total_bytes > 0 or self.waiting > 0)

    def end(self) -> None:
        """The request is answered."""
        if self.last and self.reading is _HEAD:
            self.stop()
