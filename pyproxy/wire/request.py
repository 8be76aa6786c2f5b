"""A request as handlers get it: aiohttp's, with the connection's say in whether it stays open and a careful writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import StreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from pyproxy.part import Part
from pyproxy.wire.memory import Standing

SERVER = "pyproxy"


class Line(Protocol):
    """What a request asks of its connection."""

    @property
    def stays_open(self) -> bool: ...
    def speaks(self) -> None: ...
    def go_on(self) -> None: ...


class Writer(StreamWriter):
    """aiohttp's writer, whose `length` says what an answer still owes, also after its last bytes.

    Bytes that go to the socket past it are taken off `length` by whoever sends them.
    """

    async def write_eof(self, chunk: bytes = b"") -> None:
        if self.length is not None:
            self.length -= len(chunk)
        await super().write_eof(chunk)


class Body:
    """A body that its client holds back until it is told to go on; reading it first says so.

    Stands in for aiohttp's StreamReader, which it wraps: a subclass would have to be put into aiohttp's parser.
    """

    def __init__(self, stream: StreamReader, go_on: Callable[[], None]) -> None:
        self._stream = stream
        self._go_on = go_on
        self.asked = False

    def _ask(self) -> None:
        if not self.asked:
            self.asked = True
            self._go_on()

    def __getattr__(self, name: str) -> Any:  # Any: whatever the stream has under that name
        if name.startswith(("read", "iter_")):
            self._ask()
        return getattr(self._stream, name)

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._ask()
        return self._stream.__aiter__()


class Request(web.BaseRequest):
    """`keep_alive` is decided when the head of the answer is written, as draining may have begun by then."""

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        line: Line,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._line = line
        self._rest = payload
        self._held_back: Body | None = None
        self.answered: Callable[[], None] | None = None
        """Set by the handler: what is left to do when its answer is out, or cannot be. Nobody waits for it."""
        self.standing: Standing | None = None
        """Set there, for an answer that is the same for the same bytes of a request, as long as this holds."""
        self.part: Part | None = None
        """Set there too, where the body of that answer was sent from a file."""
        expects = message.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        if expects and message.version >= HttpVersion11 and not payload.is_eof():
            self._held_back = Body(payload, self._line.go_on)
            payload = cast("StreamReader", self._held_back)
        # aiohttp wants a handler of its own and a task here, and asks the one for names alone, the other for nothing.
        super().__init__(
            message, payload, cast("web.RequestHandler", line), writer, cast("asyncio.Task[None]", None), loop
        )

    def tell(self) -> None:
        """Does what its handler has left for when its answer is out, or cannot be."""
        answered, self.answered = self.answered, None  # which may know this request: no work for the collector
        if answered is not None:
            answered()

    def lost(self, exc: BaseException | None) -> None:
        """Its client is gone: whoever reads the body, or will, is told."""
        if not self._rest.is_eof():
            self._rest.set_exception(exc or ConnectionResetError("the client has gone"))

    async def rest_within(self, seconds: float) -> bool:
        """Reads what is left of the body, for so long; whether it has come to its end.

        Where it was not, to close would be a reset, and the answer could be lost with it.
        """
        rest = self._rest
        if rest.is_eof():
            return True
        try:
            async with asyncio.timeout(seconds):
                while not rest.is_eof():
                    await rest.readany()
        except (TimeoutError, web.RequestPayloadError):
            return False
        return True

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        # aiohttp has put its own name and version there by now; this is its last call before the head goes out.
        response.headers[hdrs.SERVER] = SERVER
        self._line.speaks()

    @property
    def waits_to_be_asked(self) -> bool:
        """The client holds its body back, and nobody has asked for it."""
        return self._held_back is not None and not self._held_back.asked

    @property
    def keep_alive(self) -> bool:
        # A body that was not asked for may come or not: RFC 9110, 10.1.1 leaves it to the client. Only closing is safe.
        return super().keep_alive and self._line.stays_open and not self.waits_to_be_asked

    def missing(self, response: web.StreamResponse) -> int:
        """How many bytes the head of an answer, now sent, promised beyond those that came. Notes an end by closing."""
        if self.is_bodiless(response.status):
            return 0
        length = self.writer.length
        if length is None and self.version < HttpVersion11:
            response.force_close()  # aiohttp would keep open what only closing can end
        return length or 0

    def is_bodiless(self, status: int) -> bool:
        """Whether an answer to this request has no body, whatever its head says of one (RFC 9112, 6.3)."""
        if self.method == hdrs.METH_CONNECT and 200 <= status < 300:  # noqa: PLR2004 - a tunnel, if anyone made one
            return True
        return self.method == hdrs.METH_HEAD or status in {204, 304} or status < 200  # noqa: PLR2004
