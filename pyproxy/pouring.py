"""Bytes of a file into a socket, without a copy: how many at once, and more room in the kernel for who takes them fast.

A turn of the loop costs as much as sending half a megabyte. The kernel's own buffer for a TCP connection ends at 4 MiB
and is called writable when a third of it is free, so that a turn moves two megabytes of it; with twice the room it
moves more than three, and a gigabyte takes three quarters of the processor time. Not all of that is saved: what does
not fit into the client's window leaves when it acknowledges, and over loopback in its own time (a tenth of what it
takes).
"""

from __future__ import annotations

import functools
import os
import socket
import sys
from typing import Final, Protocol

STEP: Final = 8 * 1024 * 1024
"""Bytes given to the kernel at once: about what the largest buffer takes. Half a millisecond."""

FAST: Final = 1024 * 1024
"""Bytes that a fast client has made room for, once it has had some before."""

LONG: Final = 2 * STEP
"""Bytes still to come for which more room pays: files of 5 MB went a little slower with it."""

_BUF_LOCK: Final = 72  # SO_BUF_LOCK (asm-generic/socket.h), of Linux 5.14


class Socket(Protocol):
    """As much of one as is needed here: asyncio's have no more."""

    def fileno(self) -> int: ...
    def getsockopt(self, level: int, name: int, /) -> int: ...
    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...


def pour(sock: Socket, file: int, start: int, count: int, *, again: bool, most: int = STEP) -> int:
    """Gives a socket what it takes of `count` bytes of a file, without waiting; 0 where the file ends before them.

    `again`: it has had some and was full. `most`: bytes to be given now. Raises OSError, BlockingIOError where it takes
    none.
    """
    given = os.sendfile(sock.fileno(), file, start, min(count, most))
    if again and given >= FAST and count - given > LONG:
        make_room(sock)
    return given


def make_room(sock: Socket) -> None:
    """Has the kernel take more at once for this client, where it has so much to give."""
    widest = _widest()
    try:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < widest:
            _widen(sock)
    except OSError:
        pass  # its connection is gone, as whoever sends will find


def _widen(sock: Socket) -> None:
    """Left unlocked, the buffer is the kernel's to make smaller: when memory is short, and as it measures the client.

    A locked one would then be called writable and take nothing, and the loop would try for ever.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STEP // 2)  # the kernel doubles it, for what it adds itself
    sock.setsockopt(socket.SOL_SOCKET, _BUF_LOCK, 0)


@functools.cache
def _widest() -> int:
    """Bytes of a buffer that the kernel grants who asks (`net.core.wmem_max`); 0 where it does not unlock them."""
    if sys.platform != "linux":
        return 0
    try:
        with socket.socket() as probe:
            _widen(probe)
            return probe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    except OSError:
        return 0
