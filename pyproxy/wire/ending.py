"""How a client's connection ends: refused in words, left in peace, hung up or cut; and when a client takes too long."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from pyproxy import logs
from pyproxy.wire import heads, sockets
from pyproxy.wire.delivery import Delivery
from pyproxy.wire.fast_lane import FastLane
from pyproxy.wire.feed import Feed
from pyproxy.wire.limits import Limits
from pyproxy.wire.repeater import Repeater
from pyproxy.wire.request import Request
from pyproxy.wire.times import Act

NO_ADDRESS = "unix"
"""What clients of a Unix socket are called."""

_log = logging.getLogger(__name__)


class Company(Protocol):
    """What the end of a connection has to do with the others."""

    limits: Limits
    lane: FastLane | None


class Ending(Feed):
    """The half of a connection that brings it to an end, whatever is under way."""

    __slots__ = ("_client", "_company", "_ended", "_repeater", "_request", "_socket")

    def __init__(self, company: Company, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(company.limits, loop=loop)
        self._company = company
        self._request: Request | None = None  # the one that is being answered
        self._repeater: Repeater | None = None  # once there is an answer for it to give
        self._ended = False  # the client has shut down its side, and says nothing more
        self._socket: Any = None  # Any: asyncio's TransportSocket or uvloop's PseudoSocket
        self._client = ""

    @property
    def client(self) -> str:
        """The client's address, or "unix"."""
        return self._client

    @property
    def _busy(self) -> bool:
        """A request is being answered."""
        return self._request is not None or self._delivery is not None

    @property
    def _delivery(self) -> Delivery | None:
        return None if self._repeater is None else self._repeater.delivery

    def cut(self) -> None:
        """Breaks the connection off (with a reset, over TCP), whatever is under way."""
        if self._wire is not None:
            self._leave_lane()
            sockets.reset_on_close(self._socket)
            self._wire.abort()

    def _refuse(self, status: int) -> None:
        """Says no to what is not a request yet."""
        self._leave_lane()
        self._intake.stop()
        if self._wire is None or self._wire.is_closing():
            return
        self._tell(status)
        self._wire.write(heads.refusal(status))
        self._take_leave()

    def _break_off(self, status: int) -> None:
        """Ends a request that cannot be answered: in words if nothing of an answer is out, else by cutting it short."""
        self._intake.stop()
        if self._wire is None or self._wire.is_closing():
            return
        if self._request is not None and self._request.writer.output_size > 0:
            self.cut()
            return
        if self._request is not None:
            self._tell(status)
            self._wire.write(heads.refusal(status))
        self._wire.close()  # which cancels the handler

    def _take_leave(self) -> None:
        """Says that nothing more comes; what the client still sends is thrown away, until it leaves or for a while.

        To close with bytes unread would reset the connection, and what was just said could be lost with it.
        """
        self._intake.stop()
        if self._wire is None or self._wire.is_closing():
            return
        self._hold(hold=False)
        self._times.since = self._loop.time()
        try:
            self._wire.write_eof()
        except OSError:  # the client has reset the connection, and the loop has not noticed
            self._wire.abort()
        else:
            if self._ended:
                self._wire.close()

    def _hang_up(self) -> None:
        self._leave_lane()
        self._intake.stop()
        if self._wire is not None:
            self._wire.close()

    def _tell(self, status: int) -> None:
        logs.event(_log, logging.INFO, "refused", client=self.client, status=status)

    def _leave_lane(self) -> None:
        if self._repeater is not None and (lane := self._company.lane) is not None:
            lane.leave(self._repeater)

    def check(self, now: float) -> None:
        """Ends the connection if its client takes too long. Called once a sweep."""
        request = self._request
        if self._wire is None or self._does_not_read(self._wire, now):
            return
        awaited = request is not None and self._intake.owes_body and not (self._body_full or request.waits_to_be_asked)
        match self._times.due(now, self._company.limits, self._intake, busy=self._busy, awaited=awaited):
            case Act.REFUSE:
                self._refuse(408)
            case Act.BREAK_OFF:
                self._break_off(408)
            case Act.CLOSE:
                self._hang_up()
            case Act.ABORT:
                self._wire.abort()

    def _does_not_read(self, wire: asyncio.Transport, now: float) -> bool:
        """Whether bytes wait here for the client, which is cut if it has not taken any for too long."""
        here = wire.get_write_buffer_size()
        taken: int | None = None
        if here or self._busy:
            # Also what a handler sends past the transport is seen, as it is the kernel that is asked.
            given = 0 if self._request is None else self._request.writer.output_size
            given += 0 if self._delivery is None else self._delivery.given
            count, there = sockets.taken(self._socket, given - here, tcp=self._client != NO_ADDRESS)
            taken = count if here or there else None
        if self._times.stalls(now, taken, self._company.limits.send_stall):
            logs.event(_log, logging.INFO, "cut: the client does not read", client=self.client)
            self.cut()
        return here > 0
