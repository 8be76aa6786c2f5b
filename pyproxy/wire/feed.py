"""What brings a client's bytes to aiohttp: one whole head at a time, parts of bodies, and no more than anybody reads.

Of aiohttp's private parts one is read, `_messages`: see `_feed`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any

from aiohttp import web

from pyproxy.wire.intake import PATIENCE, Intake, Reading
from pyproxy.wire.limits import Limits
from pyproxy.wire.times import Times

_log = logging.getLogger(__name__)


class Feed(web.RequestHandler, ABC):
    """The half of a connection that faces its client. What to do about faults is for the other to know."""

    __slots__ = ("_asked", "_body_full", "_holding", "_intake", "_times", "_wire")

    def __init__(self, manager: web.Server, limits: Limits, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        # Any: aiohttp's own options, passed through as its Server does.
        super().__init__(manager, loop=loop, **options)
        self._intake = Intake(limits)
        self._times = Times(loop.time())
        self._asked = b""  # the head that aiohttp got last
        self._holding = False  # reading is paused, as enough waits behind a request
        self._body_full = False  # reading is paused by aiohttp, as a body comes faster than its handler reads
        self._wire: asyncio.Transport | None = None  # kept where aiohttp lets go of its `transport`, to see it closed

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

    def take(self, data: bytes) -> None:
        """What has no answer that is known by heart."""
        if not data:  # aiohttp to itself: go on with what the parser holds of a body
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
        """Gives aiohttp what it may have of the bytes that came."""
        intake = self._intake
        while (piece := intake.piece(busy=self._busy)) is not None:
            self._feed(piece)
        if intake.fault:
            self._refuse(intake.fault)
        self._hold(hold=intake.waiting > PATIENCE)

    def _feed(self, data: bytes) -> None:
        if self._intake.reading is Reading.BEGUN:
            self._asked = data
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001 - the loop would close the connection without a word
            _log.exception("aiohttp's parser stumbled")
            if self._intake.reading is Reading.BEGUN:
                self._refuse(400)
            else:
                self._break_off(400)
            return
        # The parser's errors are put where requests are. Nothing else can be there while a body is coming, and aiohttp
        # would not look before the handler has ended, which waits for the body.
        if status := self._intake.fault_of_body(parser_failed=bool(self._messages)):
            self._break_off(status)

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
