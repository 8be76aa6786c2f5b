"""A scripted index on raw sockets: it serves what it is told to, correctly, and breaks HTTP wherever it is told to.

    async with RawUpstream() as up:
        up.serve("/simple/a/", b"<html>…", content_type="text/html", etag='"1"')
        up.serve("/files/a.whl", wheel)
        up.script("/files/a.whl", Reset(at=0.4))             # once; times=None: until up.heal()
        up.script("/files/a.whl", Delay(0.1), Cut(at=0.9))   # after that one, both at once
        …
        assert up.count("/files/a.whl") == 3

Without a script it answers as a good server does: HEAD, one range, If-Range, If-None-Match, If-Modified-Since,
keep-alive; 404 where nothing is served. Scripts of a path are used up in the order given; what each can do is in
`faults.py`. Ports that refuse or swallow connections are in `dead_ends.py`.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from tests.fakes.faults import Fault, Reply, offset
from tests.fakes.resources import Request, Resource

_LONGEST_HEAD = 64 * 1024
_REASONS = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    304: "Not Modified",
    404: "Not Found",
}


Answers = Callable[[Request], Resource]


class RawUpstream:
    """`url` ends with "/". `host` may be any loopback address: 127.0.0.2 is another machine to those who check."""

    def __init__(self, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = 0
        self.requests: list[Request] = []
        self.connections = 0
        """Connections that were accepted, ever."""
        self.sent: Counter[str] = Counter()
        """Bytes of bodies by path."""
        self.live: Counter[str] = Counter()
        """Requests in hand now, by path."""
        self.peak: Counter[str] = Counter()
        """The most requests in hand at once, by path; under "" those of all paths."""
        self._tls = tls
        self._resources: dict[str, Resource | Answers] = {}
        self._scripts: dict[str, list[tuple[tuple[Fault, ...], int | None]]] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    # ------------------------------------------------------------------ what it serves

    def serve(
        self,
        path: str,
        body: bytes = b"",
        *,
        content_type: str = "application/octet-stream",
        etag: str | None = None,
        last_modified: str | None = None,
        headers: Mapping[str, str] | None = None,
        ranges: bool = True,
        gzip: bool = False,
    ) -> Resource:
        """Lays a resource under the path, in place of what was there. It may be changed later."""
        resource = Resource(body, content_type, etag, last_modified, dict(headers or {}), ranges, gzip)
        self._resources[path] = resource
        return resource

    def answer(self, path: str, answers: Answers) -> None:
        """Lays a function under the path: what is served depends on the request (its Accept, say)."""
        self._resources[path] = answers

    def remove(self, path: str) -> None:
        del self._resources[path]

    def script(self, path: str, *faults: Fault, times: int | None = 1) -> None:
        """The next `times` answers for the path (None: all) go wrong in these ways, applied in this order.

        The path "*" stands for every path that has no script of its own.
        """
        self._scripts.setdefault(path, []).append((faults, times))

    def heal(self, path: str | None = None) -> None:
        """Forgets the scripts of the path, or all."""
        if path is None:
            self._scripts.clear()
        else:
            self._scripts.pop(path, None)

    # ------------------------------------------------------------------ what it saw

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/"

    def count(self, path: str | None = None, method: str | None = None) -> int:
        """How many requests have come."""
        return sum((path is None or r.path == path) and (method is None or r.method == method) for r in self.requests)

    async def asked(self, path: str | None = None, times: int = 1) -> None:
        """Returns once so many requests have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.count(path) >= times)

    # ------------------------------------------------------------------ its life

    async def start(self) -> Self:
        """Listens; after `stop`, on the same port as before."""
        self._server = await asyncio.start_server(
            self._connected, self.host, self.port, ssl=self._tls, limit=_LONGEST_HEAD, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Refuses connections from now on and breaks those that are open."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ------------------------------------------------------------------ one connection

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: that of asyncio's streams complains when it is cancelled.
        self.connections += 1
        task = asyncio.create_task(self._serve_connection(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        # What is written is in the kernel's hands when `drain` returns, so a reset cuts exactly where it should.
        writer.transport.set_write_buffer_limits(0)
        try:
            await self._converse(reader, writer, number)
        except (ConnectionError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the client went away, as clients do
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while (request := await _request(reader, number)) is not None:
            self.requests.append(request)
            path = request.path
            for counted in (path, ""):
                self.live[counted] += 1
                self.peak[counted] = max(self.peak[counted], self.live[counted])
            async with self._arrived:
                self._arrived.notify_all()
            try:
                reply = self._reply(request)
                await self._send(reply, request, reader, writer)
            finally:
                for counted in (path, ""):
                    self.live[counted] -= 1
            if reply.ending != "keep" or request.headers.get("connection", "").lower() == "close":
                return

    def _reply(self, request: Request) -> Reply:
        found = self._resources.get(request.path)
        if found is None:
            reply = Reply(404, {"Content-Type": "text/plain"}, b"404: nothing is served here\n")
        else:
            reply = (found(request) if callable(found) else found).reply(request)
        for fault in self._next_faults(request.path):
            fault(reply)
        return reply

    def _next_faults(self, path: str) -> Iterable[Fault]:
        scripts = self._scripts.get(path) or self._scripts.get("*")
        if not scripts:
            return ()
        faults, times = scripts[0]
        if times == 1:
            scripts.pop(0)
        elif times is not None:
            scripts[0] = (faults, times - 1)
        return faults

    async def _send(
        self, reply: Reply, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if reply.delay:
            await asyncio.sleep(reply.delay)
        async for data in _before_the_head(reply):
            await _write(writer, data)
        if reply.silent:
            await reader.read()  # until the client goes
            return
        if reply.raw is not None:
            await _write(writer, reply.raw)
            if reply.ending == "reset":
                await _reset(writer)
            return
        writer.write(_head(reply))
        bodiless = request.method == "HEAD" or reply.status in {204, 304}
        if not bodiless:
            async for piece in _pieces(reply):
                await _write(writer, _chunk(piece) if reply.framing == "chunked" else piece)
                self.sent[request.path] += len(piece)
            if reply.framing == "chunked" and reply.last_chunk and reply.cut is None:
                await _write(writer, b"0\r\n\r\n")
        await writer.drain()
        if reply.ending == "hang":
            await reader.read()
        elif reply.ending == "reset":
            await _reset(writer)


async def _request(reader: asyncio.StreamReader, number: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Request(method, target, headers, number, time.monotonic())


def _head(reply: Reply) -> bytes:
    headers = dict(reply.headers)
    if reply.framing == "length" and reply.status not in {204, 304}:
        headers.setdefault("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
    elif reply.framing == "chunked":
        headers.setdefault("Transfer-Encoding", "chunked")
    if reply.ending != "keep":
        headers.setdefault("Connection", "close")
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Scripted')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _before_the_head(reply: Reply) -> AsyncIterator[bytes]:
    sent = 0
    while reply.interims is None or sent < reply.interims:
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </style>\r\n\r\n"
        sent += 1
        await asyncio.sleep(reply.pause)


async def _pieces(reply: Reply) -> AsyncIterator[bytes]:
    """The body as it is put on the wire."""
    if reply.endless:
        while True:
            yield reply.body or b"\0" * 65536
            await asyncio.sleep(reply.pause)
    stop = len(reply.body) if reply.cut is None else offset(reply.cut, len(reply.body))
    at = 0
    while at < stop:
        step = reply.step
        if reply.gate is not None:
            held, event = reply.gate
            if at == held:
                await event.wait()
            elif at < held:
                step = min(step, held - at)
        yield reply.body[at : min(at + step, stop)]
        at += step
        if reply.pause:
            await asyncio.sleep(reply.pause)
    if reply.surplus:
        yield reply.surplus


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection by RST, not FIN, once the other side has what was written: a reset takes back the rest."""
    unsent = bytearray(4)
    for _ in range(500):
        fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, unsent)
        if not any(unsent):
            break
        await asyncio.sleep(0.002)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
