"""How many requests one remote gets at once, and that pages and files leave room for each other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count

from pyproxy.deadlines import Deadlines
from pyproxy.upstream.values import Kind

SHARE = 0.8
"""What files, and all that is not a file, may each take of a remote's connections."""


class Slots:
    """Places for `limit` requests. Who waits is served in the order of coming, as far as the shares go.

    Waiting takes a future and a deadline: two semaphores within asyncio.timeout took a fifth of a page's request.
    """

    def __init__(self, limit: int) -> None:
        share = max(1, int(limit * SHARE))
        self._free = limit
        self._files = _Share(share)
        self._others = _Share(share)
        self._coming = count()
        self._deadlines: Deadlines[asyncio.Future[None]] = Deadlines(_too_late)

    def free(self, kind: Kind) -> Callable[[], None] | None:
        """A place, where one is free now: what gives it back. Calling that twice is once."""
        share = self._share(kind)
        if not (self._free and share.left):
            return None
        self._hand_out(share)
        return self._handed_out(share)

    async def take(self, kind: Kind, *, until: float) -> Callable[[], None]:
        """The same, waited for. Raises TimeoutError where none is free by `until` (the loop's time)."""
        if (given := self.free(kind)) is not None:
            return given
        share = self._share(kind)
        await self._wait(share, until)
        return self._handed_out(share)

    def _share(self, kind: Kind) -> _Share:
        return self._files if kind == "file" else self._others

    def _handed_out(self, share: _Share) -> Callable[[], None]:
        held = [share]

        def give_back() -> None:
            if held:
                self._take_back(held.pop())

        return give_back

    async def _wait(self, share: _Share, until: float) -> None:
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        share.waiting.append((next(self._coming), place))
        self._deadlines.set(place, until)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._take_back(share)  # handed out just now, to nobody
            raise
        finally:
            self._deadlines.drop(place)

    def _hand_out(self, share: _Share) -> None:
        self._free -= 1
        share.left -= 1

    def _take_back(self, share: _Share) -> None:
        self._free += 1
        share.left += 1
        while (self._files.waiting or self._others.waiting) and self._free and (first := self._first()) is not None:
            self._hand_out(first)
            first.waiting.popleft()[1].set_result(None)

    def _first(self) -> _Share | None:
        """The share whose turn it is, of those in which somebody waits for a place that may be taken."""
        if not self._files.is_wanted():
            return self._others if self._others.is_wanted() else None
        if not self._others.is_wanted():
            return self._files
        return min(self._files, self._others, key=_turn)


class _Share:
    """What one sort of requests may still take, and who of them waits for a place, since which turn."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def is_wanted(self) -> bool:
        while self.waiting and self.waiting[0][1].done():
            self.waiting.popleft()  # gave up
        return self.left > 0 and len(self.waiting) > 0


def _turn(share: _Share) -> int:
    return share.waiting[0][0]


def _too_late(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_exception(TimeoutError())
