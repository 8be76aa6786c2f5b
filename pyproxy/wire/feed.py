"""What brings a client's bytes to aiohttp's parser: one whole head at a time, parts of bodies, no more than are read.

aiohttp's `RequestHandler` would do it too, with a task for each connection that it wakes twice for each request.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from pyproxy.wire.intake import PATIENCE, Intake
from pyproxy.wire.limits import Limits
from pyproxy.wire.times import Times

READ_AHEAD = 64 * 1024
"""Bytes of a body that are taken ahead of its handler; twice as many are held before reading stops."""

_log = logging.getLogger(__name__)


class Feed(BaseProtocol, ABC):
    """The half of a connection that faces its client. What to do about faults is for the other to know."""

    __slots__ = ("_asked", "_body_full", "_holding", "_intake", "_times", "_wire")

    def __init__(self, limits: Limits, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, _parser(self, limits, loop))
        self._intake = Intake(limits)
        self._times = Times(loop.time())
        self._asked = b""  # the head that the parser got last
        self._holding = False  # reading is paused, as enough waits behind a request
        self._body_full = False  # reading is paused by a body that comes faster than its handler reads
        self._wire: asyncio.Transport | None = None

    @property
    @abstractmethod
    def _busy(self) -> bool:
        """A request is being answered."""

    @abstractmethod
    def _refuse(self, status: int) -> None:
        """Says no to what is not a request yet."""

    @abstractmethod
    def _break_off(self, status: int) -> None:
        """Ends a request that cannot be answered."""

    @abstractmethod
    def _asks(self, message: RawRequestMessage, body: StreamReader) -> None:
        """A request has come, though not all of its body perhaps."""

    def take(self, data: bytes) -> None:
        """What has no answer that is known by heart."""
        if not data:  # a body's reader: go on with what the parser holds of it
            self._feed(b"")
            return
        times, intake = self._times, self._intake
        times.heard = self._loop.time()
        waiting = intake.waiting
        intake.take(data)
        self._advance()
        if not waiting and intake.waiting:
            times.since = times.heard  # the first byte of a head

    def _advance(self) -> None:
        """Gives the parser what it may have of the bytes that came."""
        intake = self._intake
        while (piece := intake.piece(busy=self._busy)) is not None:
            self._feed(piece)
        if intake.fault:
            self._refuse(intake.fault)
        self._hold(hold=intake.waiting > PATIENCE)

    def _feed(self, data: bytes) -> None:
        begun = self._intake.begun
        if begun and data:
            self._asked = data
        messages, failed = self._parsed(data)
        for message, body in messages:
            self._asks(message, body)
        if failed and begun:
            self._refuse(400)
        elif status := self._intake.fault_of_body(parser_failed=failed):
            self._break_off(status)

    def _parsed(self, data: bytes) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool]:
        """The requests that begin here, one at most; and whether the parser failed."""
        parser = cast("HttpRequestParser | None", self._parser)
        if parser is None:
            return (), False
        try:
            return parser.feed_data(data)[0], False
        except HttpProcessingError:
            pass
        except Exception:  # noqa: BLE001 - the loop would close the connection without a word
            _log.exception("aiohttp's parser stumbled")
        return (), True

    def _hold(self, *, hold: bool) -> None:
        if hold is self._holding or self._wire is None:
            return
        self._holding = hold
        if hold:
            self._wire.pause_reading()
        elif not self._body_full:
            self._wire.resume_reading()

    def pause_reading(self) -> None:
        self._body_full = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        self._body_full = False
        self._times.heard = self._loop.time()
        super().resume_reading(resume_parser)
        if self._holding and self._wire is not None:
            self._wire.pause_reading()


def _parser(feed: BaseProtocol, limits: Limits, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    return HttpRequestParser(
        feed,
        loop,
        READ_AHEAD,
        # Our own bounds (`heads.fault`) are met first; aiohttp's count the lines of a head in one of its parsers.
        max_line_size=limits.max_line + 2,
        max_field_size=limits.max_line + 2,
        max_headers=limits.max_header_fields + 2,
        payload_exception=web.RequestPayloadError,
        auto_decompress=False,
    )
