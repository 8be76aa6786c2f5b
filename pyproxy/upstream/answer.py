"""An answer of a remote whose head has come: its framing, and its body under watch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pyproxy.upstream.trouble import Trouble, cut, in_body, wrong
from pyproxy.upstream.urls import Target
from pyproxy.upstream.values import Pace, Validators

CHUNK = 1024 * 1024
"""The most bytes that are handed on at once: each hand-over of a file takes a hop to a thread and back."""

LONGEST_VALIDATOR = 1024

# How long a broken chunk may go unnoticed: aiohttp ends the connection then, and forgets to tell the body.
_LOOK = 1.0

_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")


class Answer:
    """Holds a connection and a place among the remote's requests until `close`, which tells the observer once."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        target: Target,
        *,
        tell: Callable[[str], None],
        release: Callable[[], None],
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.url = str(target.url)
        self.got = 0
        self._response = response
        self._tell = tell
        self._release = release
        self._closed = False
        self._surplus = False
        self._protocol = response.connection.protocol if response.connection is not None else None
        if self._protocol is not None:
            response.content.on_eof(self._at_end)

    @property
    def length(self) -> int | None:
        """The body's bytes as Content-Length tells them."""
        text = self.headers.get("Content-Length", "")
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None

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

    async def chunks(
        self, *, silence: float, deadline: float | None = None, expected: int | None = None, pace: Pace | None = None
    ) -> AsyncIterator[bytes]:
        """The body as it comes, still encoded. Raises Trouble where it breaks, ends early, stalls or trickles.

        `silence`: seconds without a byte. `deadline`: the loop's time by which all of it is here. `expected`: its
        length, where more is known than Content-Length tells.
        """
        self._check_coding()
        expected = self.length if expected is None else expected
        loop = asyncio.get_running_loop()
        waited, window_got = 0.0, 0
        while True:
            asked = loop.time()
            chunk = await self._next(asked + silence, deadline, expected)
            if not chunk:
                break
            self.got += len(chunk)
            waited += loop.time() - asked
            window_got += len(chunk)
            if pace is not None and waited >= pace.window:
                if window_got < pace.rate * waited:
                    slow = f"too slow: {window_got / waited:.0f} bytes a second"
                    raise Trouble(f"{cut(self.got, expected).why}, {slow}", timeout=True)
                waited, window_got = 0.0, 0
            yield chunk
        if expected is not None and self.got != expected:
            if self.got < expected:
                raise cut(self.got, expected)
            raise wrong(f"body of {self.got} bytes, {expected} promised")
        await asyncio.sleep(0)  # _look_for_surplus runs meanwhile
        if self._surplus:
            raise wrong("body longer than its Content-Length")

    async def _next(self, silent: float, deadline: float | None, expected: int | None) -> bytes:
        """The next bytes, none at the end. `silent`: when the remote has been silent for too long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        until = silent if deadline is None else min(silent, deadline)
        while True:
            try:
                if (here := self._here()) is not None:
                    return here
                async with asyncio.timeout_at(min(until, loop.time() + _LOOK)) as limit:
                    return await self._response.content.read(CHUNK)
            except TimeoutError as exc:
                if not limit.expired():
                    raise in_body(exc, self.got, expected) from exc
                if self._derailed():
                    raise Trouble(f"{cut(self.got, expected).why}, it broke HTTP", again=True) from exc
                if loop.time() >= until:
                    told = "not complete in time" if until == deadline else f"nothing for {until - began:.1f} s"
                    raise Trouble(f"{cut(self.got, expected).why}, {told}", again=True, timeout=True) from exc
            except (aiohttp.ClientError, OSError, HttpProcessingError) as exc:
                raise in_body(exc, self.got, expected) from exc

    def _here(self) -> bytes | None:
        """The next bytes, none at the end; None where they must be waited for, which takes a timer."""
        content = self._response.content
        if here := content.read_nowait(CHUNK):
            return here
        return b"" if content.at_eof() else None

    def close(self, error: BaseException | None = None) -> None:
        """Gives back connection and place. `error` is what came of the answer, for the observer."""
        if self._closed:
            return
        self._closed = True
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
        self._release()
        # A status that is a refusal says more than the error it was turned into.
        self._tell((self.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT} and outcome(error)) or str(self.status))

    def drop(self) -> None:
        """Lets go of the connection and keeps the place: another hop follows."""
        self._release = _nothing
        self.close()

    def _check_coding(self) -> None:
        coding = self.headers.get("Transfer-Encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            raise Trouble("sent a transfer coding that was not asked for")

    def _at_end(self) -> None:
        # The connection is free from here on. What came along with the body's end is parsed before the loop goes on,
        # so the next round is when it shows, and too early for an answer to anybody who took the connection since.
        asyncio.get_running_loop().call_soon(self._look_for_surplus)

    def _look_for_surplus(self) -> None:
        self._surplus = self._derailed()
        if self._protocol is not None and self._protocol.should_close:
            # The surplus may look like another answer: whoever asks next on this connection would get that one.
            self._protocol.close()

    def _derailed(self) -> bool:
        """Whether the parser has given up on what comes."""
        return self._protocol is not None and isinstance(self._protocol.exception(), HttpProcessingError)


def _nothing() -> None:
    return None


def outcome(error: BaseException | None) -> str | None:
    """What the metrics call a request that ended so; None where its status tells."""
    match error:
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
