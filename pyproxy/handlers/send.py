"""Bytes of files to a client's socket: from a descriptor without a copy, or tailing an arrival.

`os.sendfile` on a dup of the socket is the cheapest way under any loop (0.09 CPU seconds per GB against 0.6 for
reading and writing); a dup, because asyncio does not let a transport's own descriptor be watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import ClassVar

from aiohttp import web
from aiohttp.http_writer import StreamWriter

from pyproxy.arrival import Arrival, Reader
from pyproxy.errors import BlobDamaged, PyproxyError, StoreTrouble
from pyproxy.pouring import STEP, pour

STALL = 3600.0
"""Seconds after which a wait for a client ends even if its connection lets it go on.

The connection (`wire`) cuts clients that take nothing: it asks the kernel what they have taken. Here only the room in
the kernel's buffer shows, which a slow reader of megabytes may not make for minutes.
"""

FIRST = 16 * 1024
"""Bytes of a client's first turn at a download: of hundreds, nobody's first byte waits for others' megabytes."""

TURN = 1024 * 1024
"""Bytes of each next turn, so that many readers of a download take turns; of a stored file, where many are sent."""

SHARED = 2 * STEP
"""Bytes of stored files in one turn of the loop, all clients together: some 3 ms, for which everybody else waits."""

READ = 256 * 1024

BROKEN = (PyproxyError, OSError)
"""What may end an answer after its head is out."""

CLIENT_GONE = (ConnectionError, TimeoutError)
"""Of those, what is the client's doing: it went, or took nothing. Not an error of ours."""


class _Flow:
    """Bytes [start, end) of a file on their way: a turn of the loop gives the socket what it takes, and wakes no task.

    `passed` is told of how many it took.
    """

    under_way: ClassVar[int] = 0
    """How many there are that wait for their sockets. They share a turn: what else comes waits for all of them."""

    def __init__(self, sock: socket.socket, fd: int, start: int, end: int, *, passed: Callable[[int], None]) -> None:
        self._sock = sock
        self._fd = fd
        self._start = self._at = start
        self._end = end
        self._passed = passed
        self.over = asyncio.get_running_loop().create_future()
        """Done when no more goes."""
        self.failed: Exception | None = None  # not in the future: who was cancelled would leave it unread there
        self.step()

    def step(self) -> None:
        if self.over.done():
            return
        try:
            self._give_some()
        except BlockingIOError:
            return
        except Exception as exc:  # noqa: BLE001 - who waits is told; the loop would call this again, for ever
            self.failed = exc
        if self.failed is not None or self._at >= self._end:
            self.over.set_result(None)

    def check(self) -> None:
        """Raises what it failed with, and forgets it: whose frames know it is work for the collector of garbage."""
        failed, self.failed = self.failed, None
        try:
            if failed is not None:
                raise failed
        finally:
            del failed

    def _give_some(self) -> None:
        most = min(STEP, max(TURN, SHARED // max(1, _Flow.under_way)))
        count = pour(self._sock, self._fd, self._at, self._end - self._at, again=self._at > self._start, most=most)
        if not count:
            raise BlobDamaged("a stored file is shorter than it was")
        self._at += count
        self._passed(count)


class Outlet:
    """The way to one client, after the head of the answer has been written."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._loop = asyncio.get_running_loop()
        self.sent = 0

    @contextlib.contextmanager
    def _socket(self) -> Iterator[socket.socket | None]:
        """The socket to send to; None where the process has no descriptor left for it: then bytes are copied."""
        transport = self._request.transport
        sock: socket.socket | None = transport.get_extra_info("socket") if transport is not None else None
        if transport is None or sock is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        try:
            dup = os.dup(sock.fileno())
        except OSError as exc:
            if exc.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            yield None
            return
        with socket.socket(sock.family, sock.type, sock.proto, dup) as own:
            yield own

    async def flush(self) -> None:
        """Waits until aiohttp's own buffer is empty: what goes past it must come behind the head."""
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        if transport.get_write_buffer_size():
            low, high = transport.get_write_buffer_limits()
            transport.set_write_buffer_limits(high=0)
            try:
                async with asyncio.timeout(STALL):
                    while transport.get_write_buffer_size():
                        await self._response.drain()
                        if transport.is_closing():
                            raise ConnectionResetError("the client has gone")
                        await asyncio.sleep(0)
            finally:
                transport.set_write_buffer_limits(high=high, low=low)

    async def from_fd(self, fd: int, start: int, end: int) -> None:
        """Sends the bytes [start, end) of a file.

        Raises ConnectionError where the client goes or stalls, BlobDamaged where the file ends before.
        """
        await self.flush()
        with self._socket() as sock:
            if sock is not None:
                await self._sendfile(sock, fd, start, end)
                return
        while start < end:
            data = os.pread(fd, min(READ, end - start), start)
            if not data:
                raise BlobDamaged("a stored file is shorter than it was")
            await self.bytes(data)
            start += len(data)

    async def _sendfile(self, sock: socket.socket, fd: int, start: int, end: int) -> None:
        if start >= end:
            return
        flow = _Flow(sock, fd, start, end, passed=self._passed_by)
        if not flow.over.done():
            await self._flows(sock.fileno(), flow)
        flow.check()

    async def _flows(self, sock: int, flow: _Flow) -> None:
        """Goes on whenever the socket takes more, until it is over."""
        self._loop.add_writer(sock, flow.step)
        _Flow.under_way += 1
        try:
            while not flow.over.done():
                before = self.sent
                await asyncio.wait([flow.over], timeout=STALL)
                if not flow.over.done() and self.sent == before:
                    raise ConnectionResetError(f"the client took nothing for {STALL:g} s")
        finally:
            _Flow.under_way -= 1
            self._loop.remove_writer(sock)

    def _passed_by(self, count: int) -> None:
        """These bytes went past aiohttp's writer, which still has them down as promised."""
        self.sent += count
        writer = self._request.writer
        if isinstance(writer, StreamWriter) and writer.length is not None:
            writer.length -= count

    async def bytes(self, data: bytes) -> None:
        """Sends bytes through aiohttp (which frames them where the answer is chunked)."""
        async with asyncio.timeout(STALL):
            await self._response.write(data)
        self.sent += len(data)

    async def from_arrival(
        self, arrival: Arrival, reader: Reader, start: int, end: int | None, *, chunked: bool
    ) -> None:
        """Sends [start, end) of a download as it comes; `end` None: to wherever it ends.

        Raises what the download fails with, ConnectionError where the client goes or stalls.
        """
        at = start
        reader.passed(at)
        await self.flush()
        with self._socket() as sock:
            while end is None or at < end:
                limit = arrival.sendable(end)
                if at < limit:
                    at = await self._some(None if chunked else sock, arrival, at, limit)
                    reader.passed(at)
                    continue
                if arrival.landed is not None:
                    return
                if end is not None and (kept := _last_of_part(arrival, at, end)):
                    # These bytes may go only when the whole is verified, and until then nobody else may need them.
                    reader.passed(end)
                    await arrival.whole()
                    await self.bytes(kept)
                    return
                await arrival.changed()
                if self._gone():
                    raise ConnectionResetError("the client has gone")

    async def _some(self, sock: socket.socket | None, arrival: Arrival, at: int, limit: int) -> int:
        """Sends a part of [at, limit), past aiohttp to the socket if there is one; returns how far it came."""
        spool = arrival.spool
        if spool is None:
            raise StoreTrouble("the download has no bytes")
        if at < spool.on_disk and sock is not None:
            upto = min(limit, spool.on_disk, at + (TURN if self.sent else FIRST))
            await self._sendfile(sock, spool.fd, at, upto)
            await asyncio.sleep(0)
            return upto
        data = spool.read(at, min(READ, limit - at))
        await self.bytes(data)
        return at + len(data)

    def _gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()


def _last_of_part(arrival: Arrival, at: int, end: int) -> bytes:
    """The held back bytes [at, end) of a part that has come, where the disk refuses more; else none.

    A download that cannot be kept waits for its readers, so none of them may wait for its end with bytes to take.
    """
    spool = arrival.spool
    if spool is None or spool.stays or not at < end <= arrival.arrived:
        return b""
    data = b""
    while at + len(data) < end:
        data += spool.read(at + len(data), end - at - len(data))
    return data


def cut(request: web.BaseRequest) -> None:
    """Breaks the connection off with a reset, so that every client sees that the answer is not whole.

    A polite end would do where the head tells the length; an HTTP/1.0 answer without one would look complete.
    """
    transport = request.transport
    if transport is None:
        return
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
