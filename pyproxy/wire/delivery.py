"""An answer whose body lies in a file, sent past the transport: the kernel takes the bytes from where they are.

Through user space 1 MB costs 250 µs, by `sendfile` 80; and no task is needed for it, not even for a slow client.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from pyproxy.part import Part
from pyproxy.wire.memory import Answer

STEP: Final = 4 * 1024 * 1024
"""Bytes given to the kernel at once: about what its largest buffer for one socket takes. A millisecond."""

_MORE: Final = getattr(socket, "MSG_MORE", 0)
"""The head leaves with the first bytes of the body, and not in a packet of its own."""


class Delivery:
    """One such answer. `sock` is a second descriptor of the connection's socket: asyncio keeps the first to itself."""

    __slots__ = ("_end", "_head", "_part", "_sock", "answer", "at", "started", "watched")

    def __init__(self, answer: Answer, part: Part, sock: socket.socket, started: float) -> None:
        self.answer = answer
        self.started = started
        self.watched = False  # whether the loop tells when the socket takes more
        self._head = answer.head
        self._part = part
        self._sock = sock
        self.at = part.start
        self._end = part.start + part.length

    @property
    def missing(self) -> int:
        """Bytes of the body that the kernel has not taken yet."""
        return self._end - self.at

    @property
    def given(self) -> int:
        """Bytes that it has taken."""
        return len(self.answer.head) - len(self._head) + self.at - self._part.start

    def step(self) -> bool:
        """Gives the kernel what it takes, without waiting; whether that was the last of it. Raises OSError."""
        try:
            if self._head:
                self._head = self._head[self._sock.send(self._head, _MORE) :]
                if self._head:
                    return False
            count = os.sendfile(self._sock.fileno(), self._part.file.fd, self.at, min(STEP, self.missing))
        except BlockingIOError:
            return False
        if not count:
            raise OSError(errno.EIO, "a stored file is shorter than it was")
        self.at += count
        return not self.missing
