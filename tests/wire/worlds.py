"""A handler whose answers may be repeated, and what they rest on, for tests to steer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from pyproxy.part import Part, Spool
from pyproxy.wire import Listener, Request
from pyproxy.wire.memory import Repeat

LONG = 3600.0


@dataclass
class Resting:
    """What an answer rests on, as a test has it."""

    until: float = LONG
    due: float = math.inf
    right: bool = True
    clients: list[str] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)

    def holds(self, turn: int) -> bool:
        assert turn > 0
        return self.right

    def repeated(self, repeats: Sequence[Repeat], missing: int = 0) -> None:
        assert all(0 <= seconds < LONG for _, seconds in repeats)
        self.clients += [client for client, _ in repeats]
        self.missing.append(missing)


class Moody(Spool):
    """Makes one file of so many that are asked for, and none of the others."""

    def __init__(self, one_of: int) -> None:
        super().__init__()
        self._one_of = one_of
        self.asked = 0

    def lay(self, pieces: Sequence[bytes | Part], done: Callable[[Part], None]) -> None:
        self.asked += 1
        if self._one_of and self.asked % self._one_of == 0:
            super().lay(pieces, done)


@dataclass
class World:
    """A handler whose answers tell a number, and may be repeated while it stays the same."""

    number: int = 0
    body: bytes = b""
    large: bytes = b""
    """The same, but for paths that are called so in these tests: `/page` and `/file`."""
    life: float = LONG
    second: float = math.inf
    """Seconds after which an answer is to be made anew."""
    hot: bool = True
    handled: int = 0
    held: asyncio.Event | None = None
    given: list[Resting] = field(default_factory=list)

    def change(self) -> None:
        self.number += 1
        for resting in self.given:
            resting.right = False

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handled += 1
        if self.held is not None:
            await self.held.wait()
        assert isinstance(request, Request)
        asked = await request.read()
        more = self.large if request.path in {"/page", "/file"} and self.large else self.body
        body = b"%s %s %d %s%s" % (request.method.encode(), request.path.encode(), self.number, asked, more)
        if self.hot:
            now = asyncio.get_running_loop().time()
            request.standing = Resting(now + self.life, now + self.second)
            self.given.append(request.standing)
        if request.path == "/file":
            return await self._from_file(request, body)
        if request.path == "/304":
            return web.Response(status=304, headers={"ETag": '"1"', "Date": "now"})
        if request.path == "/streamed":
            response = web.StreamResponse()
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body)
            return response
        return web.Response(body=body, headers={"Date": "now"})

    async def _from_file(self, request: Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Date": "now"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        Spool().lay((b"before", body, b"after"), lambda part: setattr(request, "part", part))
        assert request.part is not None
        request.part = Part(request.part.file, len(b"before"), len(body))
        return response

    def let_age(self, listener: Listener) -> None:
        """All that is known by heart is due to be made anew."""
        assert listener._server is not None
        for answer in listener._server.memory.answers.values():
            answer.due = 0.0

    @property
    def repeated(self) -> int:
        return sum(len(resting.clients) for resting in self.given)
