"""An answer of a remote whose head has come: its framing, and its body under watch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, cast

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pyproxy.upstream.connections import BROKEN, Channel, Heard
from pyproxy.upstream.straight import WORTH, Straight
from pyproxy.upstream.trouble import Trouble, cut, in_body, wrong
from pyproxy.upstream.urls import Target
from pyproxy.upstream.values import Pace, Validators

CHUNK = 1024 * 1024
"""The most bytes that are handed on at once: each hand-over of a file takes a hop to a thread and back."""

LONGEST_VALIDATOR = 1024

_GIVEN = frozenset({200, 206})

# How long a broken chunk may go unnoticed: aiohttp ends the connection then, and forgets to tell the body.
_LOOK = 1.0

_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")
_LENGTH = re.compile(r"[0-9]{1,18}\Z")


class _Wait(NamedTuple):
    """For the next bytes of a body of `expected` bytes. Times are the loop's."""

    began: float
    silent: float
    deadline: float | None
    expected: int | None

    @property
    def until(self) -> float:
        return self.silent if self.deadline is None else min(self.silent, self.deadline)


class Answer:
    """Holds a connection and a place among the remote's requests until `close`, which tells the observer once."""

    def __init__(
        self,
        channel: Channel,
        heard: Heard,
        target: Target,
        *,
        tell: Callable[[str], None],
        release: Callable[[], None],
    ) -> None:
        message, self._content = heard
        self._source: aiohttp.StreamReader | Straight = self._content
        self.status = message.code
        self.headers = message.headers
        self.length = _length(self.headers.get("Content-Length", ""))
        """The body's bytes as Content-Length tells them."""
        self.got = 0
        self._channel = channel
        self._target = target
        self._tell = tell
        self._release = release
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def url(self) -> str:
        return self._target.url

    @property
    def framed(self) -> bool:
        """Whether a body that ends early can be told from a whole one."""
        return self.length is not None or "Transfer-Encoding" in self.headers

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")

    @property
    def validators(self) -> Validators:
        return Validators(
            etag=_sendable(self.headers.get("ETag")), last_modified=_sendable(self.headers.get("Last-Modified"))
        )

    def at_hand(self) -> bytes | None:
        """The whole body, still encoded, where all of it has come already. Raises Trouble as `chunks` does."""
        if not self._content.is_eof():
            return None
        self._check_coding()
        body = self._content.read_nowait()
        self.got = len(body)
        self._check_end(self.length)
        return body

    def chunks(
        self, *, silence: float, deadline: float | None = None, expected: int | None = None, pace: Pace | None = None
    ) -> AsyncIterator[bytes]:
        """The body as it comes, still encoded. Raises Trouble where it breaks, ends early, stalls or trickles.

        `silence`: seconds without a byte. `deadline`: the loop's time by which all of it is here. `expected`: its
        length, where more is known than Content-Length tells.
        """
        # Only what was read straight is anything else.
        return cast("AsyncIterator[bytes]", self._pieces(silence, deadline, expected, pace))

    def lent(
        self, *, silence: float, expected: int | None = None, pace: Pace | None = None
    ) -> AsyncIterator[bytes | memoryview]:
        """As `chunks`; but a piece holds only until the next is asked for, as it may lie in a buffer used again."""
        if self.length is not None and self._is_worth(self.length):
            self._source = Straight(self._channel, self._content, self.length)
        return self._pieces(silence, None, expected, pace)

    def more(self, limit: int) -> memoryview:
        """In the thread that has used a lent piece: at most `limit` bytes more that have come, lent in its place."""
        piece = self._source.more(limit) if isinstance(self._source, Straight) else memoryview(b"")
        self.got += len(piece)
        return piece

    def _is_worth(self, length: int) -> bool:
        """Whether so much is still to come that it is read past aiohttp; not where more than a length frames it."""
        content = self._content
        if "Transfer-Encoding" in self.headers or content.is_eof() or content.exception() is not None:
            return False
        return length - content.total_bytes >= WORTH

    async def _pieces(
        self, silence: float, deadline: float | None, expected: int | None, pace: Pace | None
    ) -> AsyncIterator[bytes | memoryview]:
        self._check_coding()
        expected = self.length if expected is None else expected
        loop = asyncio.get_running_loop()
        waited, window_began = 0.0, self.got
        while True:
            asked = loop.time()
            chunk = await self._next(asked + silence, deadline, expected)
            if not chunk:
                break
            self.got += len(chunk)
            waited += loop.time() - asked
            if pace is not None and waited >= pace.window:
                window_got = self.got - window_began
                if window_got < pace.rate * waited:
                    slow = f"too slow: {window_got / waited:.0f} bytes a second"
                    raise Trouble(f"{cut(self.got, expected).why}, {slow}", timeout=True)
                waited, window_began = 0.0, self.got
            yield chunk
        self._check_end(expected)

    async def _next(self, silent: float, deadline: float | None, expected: int | None) -> bytes | memoryview:
        """The next bytes, none at the end. `silent`: when the remote has been silent for too long."""
        try:
            if (here := self._here()) is not None:
                return here
            self._look(_Wait(asyncio.get_running_loop().time(), silent, deadline, expected))
            try:
                return await self._source.read(CHUNK)
            finally:
                if self._looking is not None:
                    self._looking.cancel()
        except BROKEN as exc:
            raise in_body(exc, self.got, expected) from exc

    def _look(self, wait: _Wait) -> None:
        """Wakes who waits for bytes where none will come, and looks again in a while otherwise."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if (trouble := self._hopeless(wait, now)) is not None:
            self._source.set_exception(trouble)
        else:
            self._looking = loop.call_at(min(wait.until, now + _LOOK), self._look, wait)

    def _hopeless(self, wait: _Wait, now: float) -> Trouble | None:
        late = now >= wait.until
        if self._derailed():
            told = "it broke HTTP"
        elif not self._channel.protocol.connected:
            told = "closed from here"
        elif not late:
            return None
        else:
            told = "not complete in time" if wait.until == wait.deadline else f"nothing for {now - wait.began:.1f} s"
        return Trouble(f"{cut(self.got, wait.expected).why}, {told}", again=True, timeout=late)

    def _here(self) -> bytes | memoryview | None:
        """The next bytes, none at the end; None where they must be waited for, which takes a timer."""
        if here := self._source.read_nowait(CHUNK):
            return here
        return b"" if self._source.at_eof() else None

    def close(self, error: BaseException | None = None) -> None:
        """Gives back connection and place. `error` is what came of the answer, for the observer."""
        if self._closed:
            return
        self._closed = True
        if not self._source.is_eof():
            # Whoever still waits for the rest is told: the connection, closed from here, would not say it.
            self._source.set_exception(aiohttp.ClientConnectionError("given up"))
        self._channel.give_back()
        self._release()
        # A status that is a refusal says more than the error it was turned into.
        self._tell((self.status in _GIVEN and outcome(error)) or str(self.status))

    def drop(self) -> None:
        """Lets go of the connection and keeps the place: another hop follows."""
        self._release = _nothing
        self.close()

    def _check_coding(self) -> None:
        coding = self.headers.get("Transfer-Encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            raise Trouble("sent a transfer coding that was not asked for")

    def _check_end(self, expected: int | None) -> None:
        """Raises Trouble where the body that has ended is not as long as it should be."""
        if expected is not None and self.got != expected:
            if self.got < expected:
                raise cut(self.got, expected)
            raise wrong(f"body of {self.got} bytes, {expected} promised")
        # What came along with the body's end has been parsed before it was told.
        if self._derailed():
            raise wrong("body longer than its Content-Length")

    def _derailed(self) -> bool:
        """Whether the parser has given up on what comes."""
        return isinstance(self._channel.protocol.exception(), HttpProcessingError)


def _nothing() -> None:
    return None


def _length(text: str) -> int | None:
    return int(text) if _LENGTH.match(text) else None


def outcome(error: BaseException | None) -> str | None:
    """What the metrics call a request that ended so; None where its status tells."""
    match error:
        case None:
            return None
        case Trouble():
            return "timeout" if error.timeout else "error"
        case asyncio.CancelledError() | GeneratorExit():
            return "cancelled"
        case _:
            return None


def _sendable(validator: str | None) -> str | None:
    """The validator, if it can be sent back as it is."""
    if validator is None or len(validator) > LONGEST_VALIDATOR or not _PRINTABLE.match(validator):
        return None
    return validator
