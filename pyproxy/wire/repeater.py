"""What a connection answers past aiohttp: an answer known by heart, written at once or sent from a file."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any, Protocol

from pyproxy.pouring import FAST, LONG, STEP, make_room
from pyproxy.wire.delivery import MORE, Delivery
from pyproxy.wire.memory import Answer
from pyproxy.wire.times import Times

_log = logging.getLogger(__name__)


class Owner(Protocol):
    """The connection, as its repeater needs it."""

    @property
    def client(self) -> str: ...
    @property
    def times(self) -> Times: ...

    def take(self, data: bytes) -> None:
        """Bytes that have no answer here."""

    def delivered(self) -> None:
        """An answer that took its time has gone out, to its last byte."""

    def cut(self) -> None: ...


class Repeater:
    """Gives the answers. That nothing else is under way on the connection is for whoever asks to know."""

    __slots__ = ("_owner", "_sock", "client", "delivery", "fd", "times", "wire")

    def __init__(self, owner: Owner, wire: asyncio.Transport) -> None:
        given: Any = wire.get_extra_info("socket")  # Any: asyncio's TransportSocket, which has no `send`
        self._owner = owner
        # The same descriptor once more, and not ours to close.
        self._sock = socket.socket(given.family, given.type, given.proto, given.fileno())
        self.wire = wire
        self.fd = given.fileno()
        self.client = owner.client
        self.times = owner.times
        self.delivery: Delivery | None = None
        """The answer that is on its way, as fast as the client takes it."""

    def unheard(self, data: bytes) -> None:
        """Leaves to the connection what was read for it and has no answer here."""
        if data:
            self._owner.take(data)

    def give(self, answer: Answer, started: float) -> bool:
        """Gives an answer; whether the kernel has it all. Else `go_on` is to be called when it takes more.

        `started`: the loop's time when its request was there.
        """
        fd, given, size = self.fd, 0, answer.size
        try:
            if (whole := answer.whole) is not None:
                given = os.sendfile(fd, whole.fd, 0, size if size < STEP else STEP)  # noqa: FURB136 - a call less
            elif (part := answer.part) is not None:
                given = self._sock.send(answer.head, MORE)
                if given == len(answer.head):
                    given += os.sendfile(fd, part.file.fd, part.start, min(STEP, part.length))
            elif answer.body:
                given = self._sock.sendmsg((answer.head, answer.body))
            else:
                given = os.write(fd, answer.head)
        except OSError:
            pass  # full, or broken: the next step tells which
        if given == size:
            return True
        # What was served it has taken, or this one would not have begun.
        if given >= FAST and size - given > LONG and self.times.served:
            make_room(self._sock)
        self.delivery = Delivery(answer, self._sock, given, started)
        return False

    def go_on(self, now: float) -> None:
        """Sends what the socket takes of the answer that is on its way, and counts it with its last byte."""
        delivery = self.delivery
        if delivery is None:
            return
        try:
            done = delivery.step()
        except OSError as exc:
            if not isinstance(exc, ConnectionError):
                _log.error("cut: an answer cannot be sent to its end: %s", exc.strerror)
            self._owner.cut()  # what is missing is counted when the connection is gone
            return
        if done:
            self._end(delivery, now)
            self._owner.delivered()

    def cut(self) -> None:
        """Breaks the connection off."""
        self._owner.cut()

    def close(self, now: float) -> None:
        """The connection is gone: counts what it had of an answer. To be called before its socket is closed."""
        self._sock.detach()  # first, whatever goes wrong then: the descriptor will be another socket's
        if self.delivery is not None:
            self._end(self.delivery, now)

    def _end(self, delivery: Delivery, now: float) -> None:
        self.delivery = None
        delivery.tell(self.client, now)
