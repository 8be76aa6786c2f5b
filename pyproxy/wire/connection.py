"""One client's connection: has its requests answered, by heart or by the handler, in order and whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from pyproxy.wire import heads
from pyproxy.wire.ending import NO_ADDRESS, Company, Ending
from pyproxy.wire.intake import Reading
from pyproxy.wire.memory import Answer, Memory, Standing
from pyproxy.wire.repeater import Repeater
from pyproxy.wire.request import Request, Writer
from pyproxy.wire.times import Times

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers a request. Cancelled when its client is found gone, so work that others share is shielded by its owner."""

_log = logging.getLogger(__name__)


class Shared(Company, Protocol):
    """What all connections of a listener have in common."""

    handler: Handler
    draining: bool
    memory: Memory
    tasks: set[asyncio.Task[Any]]  # Any: tasks are only counted and waited for

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...


class Connection(Ending):
    """The protocol of one client.

    While it is idle, a whole head that comes alone and whose answer is known by heart gets that answer at once
    (`_repeat`), and so do the next ones, without this class (`FastLane`); everything else goes to aiohttp's parser
    (`Feed`), and what that makes of it to a task of its own, which answers it.
    """

    __slots__ = ("_came", "_known", "_refusing", "_shared", "_task", "peername", "sockname")

    ssl_context = None  # this and the two names are for aiohttp's requests

    def __init__(self, shared: Shared, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(shared, loop=loop)
        self._shared = shared
        self._known = shared.memory.answers
        self._refusing = 0  # the status to answer it with, instead of the handler's
        self._task: asyncio.Task[None] | None = None  # answers it, and then reads what is left of its body
        self._came: tuple[RawRequestMessage, StreamReader] | None = None  # the next one, which waits for that
        self.peername: Any = None  # Any: addresses, of a form for each family
        self.sockname: Any = None

    # --- what the owner sees -----------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is going on: all requests are answered, and nothing of another one has come."""
        return not self._busy and self._intake.reading is Reading.HEAD and not self._intake.waiting

    @property
    def delivers(self) -> bool:
        """An answer that is known by heart is on its way."""
        return self._delivery is not None

    @property
    def idle_since(self) -> float | None:
        """The loop's time since which a connection that has had an answer waits for its next request; else None."""
        return self._times.since if self.idle and self._times.served else None

    @property
    def times(self) -> Times:
        return self._times

    @property
    def stays_open(self) -> bool:
        """Whether another request may follow; read when the head of an answer is written."""
        return not (self._intake.last or self._shared.draining)

    def answered(self) -> None:
        """A request was answered, here or past aiohttp by a write to the transport."""
        self._times.since = self._loop.time()
        self._times.served = True

    def retire(self) -> None:
        """Closes an idle connection; one with a request in flight closes when that is answered."""
        if not self._busy and not self._intake.begun:
            self._hang_up()

    # --- bytes from the client ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not `super`'s: asyncio has switched Nagle's algorithm off already.
        self._wire = self.transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        self.peername, self.sockname = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._client = str(self.peername[0]) if isinstance(self.peername, tuple) else NO_ADDRESS
        self._shared.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._leave_lane()
        self._wire = None
        self._intake.stop()
        repeater, self._repeater = self._repeater, None
        try:
            if repeater is not None:
                repeater.close(self._loop.time())
        finally:  # one that cannot be counted must not hold its place for ever
            super().connection_lost(exc)
            self._parser = None  # which knows this connection: nothing is left for the collector of garbage
            if self._request is not None:
                self._request.lost(exc)
            if self._task is not None:
                # Nothing that a handler could still do is wanted. Work that others share is shielded.
                self._task.cancel()
            self._shared.closed(self)

    def data_received(self, data: bytes) -> None:
        if (answer := self._known.get(data)) is None or not self._repeat(data, answer):
            self.take(data)

    def eof_received(self) -> bool:
        """The client has shut down its side. Whether it still gets answers: to all that it has asked whole.

        One that is gone for good looks the same until it is written to.
        """
        self._ended = True
        return self._awaits_answer and not self._intake.owes_body

    @property
    def _awaits_answer(self) -> bool:
        return self._busy or self._intake.begun

    def _repeat(self, asked: bytes, answer: Answer) -> bool:
        """Answers by heart, where nothing is under way here and the answer still stands; whether it did."""
        lane, memory, wire = self._shared.lane, self._shared.memory, self._wire
        if lane is None or self._busy or not self._intake.quiet or self._shared.draining:
            return False
        if wire is None or wire.is_closing() or wire.get_write_buffer_size():
            return False
        started = self._loop.time()
        memory.begin_turn()
        if not memory.stands(asked, answer, started):
            return False
        if (repeater := self._repeater) is None:
            repeater = self._repeater = Repeater(self, wire)
        if not lane.enter(repeater):
            return False
        self._times.heard = started
        if lane.give(repeater, answer, started):
            self.answered()
            answer.standing.repeated(((self._client, self._times.since - started),))
        return True

    def delivered(self) -> None:
        """An answer that took its time has gone out."""
        self.answered()
        if self._shared.draining:
            self._hang_up()

    # --- what is learned for the next time ---------------------------------------------------------------------------

    def _learn(self, request: Request, response: web.StreamResponse) -> None:
        """Keeps an answer that its handler has called repeatable, if all of it went through aiohttp's writer.

        Not one that took so long that it is due again: others may have had a newer one meanwhile.
        """
        answer = self._repeatable(request, response) if self._asked else None
        if answer is not None and self._loop.time() < answer.due:
            self._shared.memory.put(self._asked, answer)

    def _repeatable(self, request: Request, response: web.StreamResponse) -> Answer | None:
        standing, part = request.standing, request.part
        if standing is None or not (self.stays_open and response.keep_alive):
            return None
        given = response.body if isinstance(response, web.Response) else None
        head = heads.answer(response.status, response.reason or "", response.headers)
        if request.is_bodiless(response.status):
            return Answer.of(head, b"", standing)
        if part is not None and part.length == response.content_length:
            return Answer(head, b"", standing, part)
        return Answer.of(head, given, standing) if isinstance(given, bytes) else None

    # --- from a head to its answer -----------------------------------------------------------------------------------

    def _asks(self, message: RawRequestMessage, body: StreamReader) -> None:
        if self._task is None:
            self._begin(message, body)
        else:
            self._came = message, body

    def _begin(self, message: RawRequestMessage, body: StreamReader) -> None:
        """Has a request answered."""
        if message.version != HttpVersion11 or heads.may_have_body(message.headers):
            self._asked = b""  # nothing that the same head could be answered with unseen
        self._refusing = self._intake.begin(message, body)
        self._request = Request(message, body, self, Writer(self, self._loop), self._loop)
        known = self._known.get(self._asked)
        before = None if known is None else known.standing
        self._task = self._loop.create_task(self._attend(self._request, before))

    def speaks(self) -> None:
        """The head of an answer goes out now: an older one to the same request may not come after it."""
        self._shared.memory.outdate(self._asked)

    def go_on(self) -> None:
        """The handler reads a body that the client holds back until it is told to go on (RFC 9110, 10.1.1)."""
        self._times.heard = self._loop.time()
        if self._intake.owes_body and not self._intake.body_begun and self._wire is not None:
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _attend(self, request: Request, before: Standing | None) -> None:
        """Has a request answered, and reads what its handler has left of its body. One at a time.

        `before`: what the answer rested on that was known when the request came, and was not to be given.
        """
        stays = whole = False
        try:
            stays = self._is_known_by_now(request, before) or await self._serve(request)
            whole = await request.rest_within(self._shared.limits.linger)
        except ConnectionError:
            pass  # all is said
        finally:
            self._task = None
            if not whole:
                self._hang_up()
            elif not stays:
                self._take_leave()
        if stays and whole and (came := self._came) is not None:
            self._came = None
            self._begin(*came)
            self._advance()
            if self._ended and self._intake.owes_body:
                self._hang_up()  # the rest of the body will not come

    def _is_known_by_now(self, request: Request, before: Standing | None) -> bool:
        """Answers by heart what was not known when it came, if it is by now; whether it did.

        Of many who ask for the same at once, one has the answer made, and the others have it before their turn comes.
        """
        answer = self._known.get(self._asked)
        if answer is None or answer.standing is before or self._ended:
            return False
        self._request = None  # nobody has looked at it yet
        if self._repeat(self._asked, answer):
            return True
        self._request = request
        return False

    async def _serve(self, request: Request) -> bool:
        """Has the request answered, to the last byte; whether the connection is for more.

        Raises ConnectionError where that is no longer possible.
        """
        # In no variable: a cancelled task keeps its frames, and would so keep itself.
        self._shared.tasks.add(self._own_task)
        try:
            response = await self._answer(request)
            self._see_it_is_whole(request, response)
            self._learn(request, response)
            if not response.keep_alive:
                self._intake.last = True
            return bool(response.keep_alive)
        finally:
            self._shared.tasks.discard(self._own_task)
            self._end()

    @property
    def _own_task(self) -> asyncio.Task[None]:
        """The task that runs, for whoever runs in it."""
        return cast("asyncio.Task[None]", self._task)

    async def _answer(self, request: Request) -> web.StreamResponse:
        try:
            try:
                response = await self._response_to(request)
                await response.prepare(request)
                await response.write_eof()
            finally:
                request.tell()
        except web.RequestPayloadError:
            self._break_off(400)
            raise ConnectionResetError("the request's body is broken") from None
        except (Exception, asyncio.CancelledError) as exc:
            # One that nobody asked for comes out of work that was cancelled elsewhere: an error like others.
            if isinstance(exc, asyncio.CancelledError) and self._own_task.cancelling():
                raise
            if self._wire is None or self._wire.is_closing():
                # The client went away, or was cut off by whoever raised this; either is told of where it is known.
                raise ConnectionResetError("the connection is closed") from exc
            fields = {"method": request.method, "path": request.path}
            _log.error("unhandled error in a handler", exc_info=exc, extra={"fields": fields})
            self._break_off(500)
            raise ConnectionResetError("the handler failed") from exc
        return response

    async def _response_to(self, request: Request) -> web.StreamResponse:
        if self._refusing:
            return self._refusal(self._refusing)
        try:
            return await self._shared.handler(request)
        except web.HTTPException as exc:
            return exc

    def _refusal(self, status: int) -> web.Response:
        """The answer to a request that the handler does not get to see."""
        self._tell(status)
        self._intake.last = True
        text = f"{heads.TEXTS[status]}\n"
        return web.Response(status=status, reason=heads.TEXTS[status], text=text, headers={hdrs.CONNECTION: "close"})

    def _see_it_is_whole(self, request: Request, response: web.StreamResponse) -> None:
        missing = request.missing(response)
        if missing and self._wire is not None and not self._wire.is_closing():
            # On a connection that stays open the client would wait for the rest, or take the next answer for it.
            fields = {"method": request.method, "path": request.path, "missing": missing}
            _log.error("cut: an answer is not as long as its head says", extra={"fields": fields})
            self.cut()
            raise ConnectionResetError("the answer is short")

    def _end(self) -> None:
        self._request = None
        self.answered()
        self._intake.end()
        if self._intake.deaf:
            return
        if self._shared.draining:
            self._hang_up()
        else:
            self._advance()
            if self._ended and not self._awaits_answer:
                self._hang_up()
