"""A client on a bare socket: sends any bytes at any pace, reads when told to, and takes answers apart by their framing.

Every wait has an end: what does not come within `PATIENCE` seconds fails the test with TimeoutError.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 10.0


class Unframed(AssertionError):
    """What the server sent is no answer, or the answer ended before its time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, its body unchunked. `fields` have lower-case names, in their order."""

    version: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def field(self, name: str) -> str | None:
        """The value of the one field of this name. Raises Unframed where there are several."""
        found = [value for key, value in self.fields if key == name]
        if len(found) > 1:
            raise Unframed(f"{len(found)} fields {name}")
        return found[0] if found else None

    @property
    def closes(self) -> bool:
        return (self.field("connection") or "").lower() == "close"


class RawClient:
    """One connection. Nothing is read before `answer`, `rest` or `receive` is called."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._ended = False

    @classmethod
    async def connect(cls, where: tuple[str, int] | Path, *, receive_buffer: int | None = None) -> RawClient:
        """`receive_buffer` bounds what the kernel takes for a client that does not read."""
        if isinstance(where, Path):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(sock, str(where) if isinstance(where, Path) else where)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self._sock, data)

    async def receive(self, most: int = 65536) -> bytes:
        """Whatever has come, at most so much; b"" at the end. Raises ConnectionError for a reset."""
        if not self._buffer and not self._ended:
            async with asyncio.timeout(PATIENCE):
                self._buffer += await self._loop.sock_recv(self._sock, 65536)
            self._ended = not self._buffer
        return self._taken(most)

    def _taken(self, most: int) -> bytes:
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    async def _more(self) -> None:
        async with asyncio.timeout(PATIENCE):
            data = await self._loop.sock_recv(self._sock, 65536)
        if not data:
            raise Unframed(f"the connection ended after {len(self._buffer)} bytes: {bytes(self._buffer[:200])!r}")
        self._buffer += data

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        return self._taken(at + len(mark))[:at]

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        return self._taken(count)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer, interim ones (1xx) included. Raises Unframed where there is none, or only a part."""
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status, reason = lines[0].split(" ", 2)
        pairs = [line.split(":", 1) for line in lines[1:]]
        fields = tuple((name.lower(), value.strip()) for name, value in pairs)
        answer = Answer(version, int(status), reason, fields, b"")
        bodiless = to_head or answer.status < 200 or answer.status in {204, 304}
        body = b"" if bodiless else await self._body(answer)
        return Answer(version, answer.status, reason, fields, body)

    async def _body(self, answer: Answer) -> bytes:
        length = answer.field("content-length")
        if answer.field("transfer-encoding") == "chunked":
            if length is not None:
                raise Unframed("both a length and chunks")
            body = bytearray()
            while size := int(await self._until(b"\r\n"), 16):
                body += await self._exactly(size)
                await self._until(b"\r\n")
            await self._until(b"\r\n")
            return bytes(body)
        if length is not None:
            return await self._exactly(int(length))
        return await self.rest()

    async def ask(self, data: bytes, *, to_head: bool = False) -> Answer:
        await self.send(data)
        return await self.answer(to_head=to_head)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection. Raises ConnectionError for a reset."""
        found = bytearray()
        while data := await self.receive():
            found += data
        return bytes(found)

    async def ends(self) -> bool:
        """Waits for the connection to be over, by an end or by a reset; whether nothing more came before that."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True

    def half_close(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Goes away the hard way."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()


@contextlib.asynccontextmanager
async def connected(where: tuple[str, int] | Path, *, receive_buffer: int | None = None) -> AsyncIterator[RawClient]:
    client = await RawClient.connect(where, receive_buffer=receive_buffer)
    try:
        yield client
    finally:
        client.close()
