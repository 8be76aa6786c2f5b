"""A remote's file as a script: which bytes come when, and where they break off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pyproxy.arrival import Open
from pyproxy.errors import RemoteFailed
from pyproxy.upstream import Validators


@dataclass(slots=True)
class Part:
    """One answer of the remote: how it is framed, and at which offset of the body it breaks (None: it does not)."""

    breaks_at: int | None = None
    gate: asyncio.Event | None = None
    """The bytes behind `first` wait for it."""
    first: int = 0
    ignores_range: bool = False
    length_told: bool = True
    framed: bool = True
    step: int = 32 * 1024
    """Bytes that come at once."""
    refuses: RemoteFailed | None = None


class Stream:
    """As `pyproxy.upstream.FileStream` is seen by an arrival."""

    def __init__(self, body: bytes, part: Part, start: int, etag: str | None) -> None:
        ranged = start > 0 and not part.ignores_range
        self.status = 206 if ranged else 200
        self.start = start if ranged else 0
        self.length = len(body) - self.start if part.length_told else None
        self.total = len(body) if part.length_told else None
        self.framed = part.framed
        self.validators = Validators(etag=etag)
        self.accepts_ranges = not part.ignores_range
        self.content_type = "application/octet-stream"
        self._body = body
        self._part = part
        self._at = self.start
        self._buffer = memoryview(bytearray(part.step))

    @property
    def _end(self) -> int:
        return len(self._body) if self._part.breaks_at is None else self._part.breaks_at

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._at < self._end:
            if self._part.gate is not None and self._at >= self._part.first:
                await self._part.gate.wait()
            upto = min(self._end, self._at + self._part.step)
            if self._part.gate is not None and self._at < self._part.first:
                upto = min(upto, self._part.first)
            at, self._at = self._at, upto
            yield self._body[at:upto]
            await asyncio.sleep(0)
        if self._part.breaks_at is not None:
            raise RemoteFailed("far", f"body cut at {self._end} of {len(self._body)} bytes")

    async def lent(self) -> AsyncIterator[memoryview]:
        """Each in the same buffer: who keeps a piece finds the next in it, and then nothing."""
        async for chunk in self.chunks():
            yield self._lend(chunk)
        self._buffer[:] = bytes(len(self._buffer))

    def more(self, limit: int) -> memoryview:
        """All has come but what waits for the gate, and the last piece, which is left to `lent`."""
        upto = min(self._at + min(limit, self._part.step), self._end - self._part.step)
        if self._part.gate is not None:
            upto = min(upto, self._part.first)
        at, self._at = self._at, max(self._at, upto)
        return self._lend(self._body[at : self._at])

    def _lend(self, data: bytes) -> memoryview:
        self._buffer[:] = bytes(len(self._buffer))
        self._buffer[: len(data)] = data
        return self._buffer[: len(data)]


@dataclass(slots=True)
class ScriptedFile:
    """Answers each request with the next part of the script, the last one for ever."""

    body: bytes
    parts: list[Part] = field(default_factory=lambda: [Part()])
    etag: str | None = '"v1"'
    asked: list[tuple[int, str | None]] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, start: int, if_range: str | None) -> AsyncIterator[Stream]:
        part = self.parts[min(len(self.asked), len(self.parts) - 1)]
        self.asked.append((start, if_range))
        if part.refuses is not None:
            raise part.refuses
        yield Stream(self.body, part, start, self.etag)


def opener(remote: ScriptedFile) -> Open:
    """The file as an arrival opens it."""
    return remote.open  # type: ignore[return-value]  # the fake stream has what an arrival uses
