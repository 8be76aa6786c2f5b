"""What is left of an answer that the kernel did not take at once: sent as the client takes it, past the transport.

A body that lies in a file goes by `sendfile`: through user space 1 MB costs 250 µs, so 80; and no task is needed for
it, not even for a slow client.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from pyproxy.pouring import pour
from pyproxy.wire.memory import Answer

MORE: Final = getattr(socket, "MSG_MORE", 0)
"""The head leaves with the first bytes of a body that lies elsewhere, and not in a packet of its own."""


class Delivery:
    """An answer that was begun: the kernel has taken `given` bytes."""

    __slots__ = ("_body", "_head", "_part", "_size", "_sock", "_standing", "given", "started")

    def __init__(self, answer: Answer, sock: socket.socket, given: int, started: float) -> None:
        # Not the answer itself: it may be renewed meanwhile.
        self._head, self._body, self._part = answer.head, memoryview(answer.body), answer.part
        self._size, self._standing = answer.size, answer.standing
        self._sock = sock
        self.given = given
        self.started = started

    @property
    def missing(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._size - self.given

    def step(self) -> bool:
        """Gives the kernel what it takes, without waiting; whether that was the last of it. Raises OSError."""
        try:
            self.given += self._some()
        except BlockingIOError:
            return False
        return not self.missing

    def _some(self) -> int:
        at = self.given - len(self._head)
        if at < 0:
            return self._sock.send(self._head[at:], MORE if self._size > len(self._head) else 0)
        if self._part is None:
            return self._sock.send(self._body[at:])
        count = pour(self._sock, self._part.file.fd, self._part.start + at, self.missing, again=True)
        if not count:
            raise OSError(errno.EIO, "a stored file is shorter than it was")
        return count

    def tell(self, client: str, now: float) -> None:
        """Has the answer counted and logged, as far as it came."""
        self._standing.repeated(((client, now - self.started),), self.missing)
