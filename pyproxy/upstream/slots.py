"""How many requests one remote gets at once, and that pages and files leave room for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pyproxy.upstream.values import Kind

SHARE = 0.8
"""What files, and all that is not a file, may each take of a remote's connections."""


class Slots:
    """Places for `limit` requests. Who waits is served in the order of coming."""

    def __init__(self, limit: int) -> None:
        share = max(1, int(limit * SHARE))
        self._all = asyncio.Semaphore(limit)
        self._files = asyncio.Semaphore(share)
        self._others = asyncio.Semaphore(share)

    def is_free(self, kind: Kind) -> bool:
        """Whether `take` would not wait now."""
        part = self._files if kind == "file" else self._others
        return not (part.locked() or self._all.locked())

    async def take(self, kind: Kind) -> Callable[[], None]:
        """Waits for a place, and gives what gives it back. Calling that twice is once."""
        part = self._files if kind == "file" else self._others
        await part.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            part.release()
            raise
        held = [self._all, part]

        def release() -> None:
            while held:
                held.pop().release()

        return release
