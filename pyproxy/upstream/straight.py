"""The rest of a long body, read from its connection into one buffer that is used again and again.

aiohttp's parser copies what comes and its reader joins it, into memory that is new each time. Here the kernel puts
bytes where they are then hashed and written from: a cold file of 100 MB takes a third less of the processor's time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Final

import aiohttp
from aiohttp.http_exceptions import BadHttpMessage

from pyproxy.upstream.connections import Channel

PIECE: Final = 1024 * 1024
"""The most bytes that are lent at once. A processor's second cache has mostly as many, or twice as many."""

WORTH: Final = 512 * 1024
"""Bytes still to come from which on it pays: the buffer is new memory once."""

_NOTHING: Final = memoryview(b"")  # of no buffer: an empty piece of one would keep all of it


class Straight(asyncio.BufferedProtocol):
    """Stands in for aiohttp's protocol while the rest of a body comes, and no longer.

    Reads as its `StreamReader` does. What `read` gives is lent: it holds until the next is asked for, and nothing is
    read from the connection before.
    """

    def __init__(self, channel: Channel, content: aiohttp.StreamReader, length: int) -> None:
        """`content` is aiohttp's reader of that body of `length` bytes, with what has come of it until now."""
        self._channel = channel
        self._handler = channel.protocol
        self._content = content
        self._early = memoryview(b"".join(iter(content.read_nowait, b"")))
        self._missing = missing = length - content.total_bytes
        # One byte more than is asked for: what comes behind the body's end with its last bytes is seen.
        self._buffer = memoryview(bytearray(min(PIECE, missing) + 1))
        self._filled = 0
        self._waiter: asyncio.Future[None] | None = None
        # Of our own: who reads in a thread must not find another connection under the number of one that was closed.
        self._closing = threading.Lock()
        self._socket: socket.socket | None = None
        if missing and (transport := self._handler.transport) is not None:
            self._socket = _own_socket(transport)
            transport.set_protocol(self)
            transport.pause_reading()  # until somebody waits

    # ------------------------------------------------------------------ for who reads

    async def read(self, limit: int) -> memoryview:
        """The next bytes, none at the end. Raises what the connection came to, or what `set_exception` gave."""
        here = self.read_nowait(limit)
        if here or not self._missing:
            return here
        self._waiter = asyncio.get_running_loop().create_future()
        if (transport := self._handler.transport) is not None:
            transport.resume_reading()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return self.read_nowait(limit)

    def read_nowait(self, limit: int) -> memoryview:
        """What has come, none where it must be waited for; first what aiohttp has had before."""
        if (exc := self._content.exception()) is not None:
            raise exc
        if self._early:
            here, self._early = self._early[:limit], self._early[limit:] or _NOTHING
            return here
        got, self._filled = self._filled, 0
        return self._buffer[:got] if got else _NOTHING

    def more(self, limit: int) -> memoryview:
        """Called in the thread that has used the last piece, while nobody reads: what has come by now, none otherwise.

        That saves the loop a turn for each piece. The last ones are left to it, and so is all that goes wrong.
        """
        with self._closing:
            if self._socket is None or self._early or self._missing <= PIECE or limit <= 0:
                return _NOTHING
            try:
                got = self._socket.recv_into(self._buffer[: min(PIECE, limit)])
            except OSError:
                return _NOTHING
            self._missing -= got
            return self._buffer[:got] if got else _NOTHING

    def at_eof(self) -> bool:
        return not (self._missing or self._filled or self._early)

    def is_eof(self) -> bool:
        """Whether all has come."""
        return not self._missing

    def set_exception(self, exc: BaseException) -> None:
        self._content.set_exception(exc)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ------------------------------------------------------------------ for the transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._buffer[: self._missing + 1 if self._missing <= PIECE else PIECE]

    def buffer_updated(self, nbytes: int) -> None:
        if (transport := self._handler.transport) is not None:
            transport.pause_reading()  # the buffer is lent now
        surplus = nbytes > self._missing
        self._filled = min(nbytes, self._missing)
        self._missing -= self._filled
        if not self._missing:
            self._end(surplus=surplus)
        self._wake()

    def eof_received(self) -> None:
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._close_socket()
        if exc is not None:
            exc.__traceback__ = None  # in which asyncio's reading has the buffer
        self._handler.connection_lost(exc)
        if self._missing and self._content.exception() is None:
            self._content.set_exception(aiohttp.ServerDisconnectedError())
        # The error and what raised it know each other, and this, until garbage is looked for: let it be no MiB.
        self._buffer = self._early = _NOTHING
        self._wake()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def _end(self, *, surplus: bool) -> None:
        """Gives the connection back to aiohttp's protocol, as the end of the body would have left it."""
        self._close_socket()
        self._content.feed_eof()
        self._channel.expect(bodiless=False)
        if surplus:
            self._handler.set_exception(BadHttpMessage("data after the end of the body"))
        if (transport := self._handler.transport) is not None:
            transport.set_protocol(self._handler)
            transport.resume_reading()

    def _close_socket(self) -> None:
        with self._closing:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def _own_socket(transport: asyncio.Transport) -> socket.socket | None:
    """The connection once more; None where it is encrypted, or the process has no descriptor left."""
    if transport.get_extra_info("ssl_object") is not None:
        return None
    theirs: socket.socket | None = transport.get_extra_info("socket")
    try:
        return None if theirs is None else theirs.dup()
    except OSError:
        return None
