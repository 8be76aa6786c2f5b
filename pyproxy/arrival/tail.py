"""What readers see of a download: how far it has come, what of it may be sent, and when there is more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyproxy.arrival.promise import Landed, Room
from pyproxy.errors import PyproxyError, RemoteFailed, StoreTrouble
from pyproxy.storage.spool import Spool

HOLD_BACK: Final = 16 * 1024
"""Bytes at the end of every answer that wait for the digest."""


class Tail:
    """The readers of one download, and what they follow. Written by the download, on the loop.

    Readers wait for `changed`.
    """

    def __init__(self, name: str, remote: str) -> None:
        self.name = name
        self.remote = remote
        self.total: int | None = None
        """The body's length, once a head has told it."""
        self.headed = False
        """The remote has answered: `total` is as known as it will be."""
        self.landed: Landed | None = None
        """Set once it is checked, and stored if that is quick: readers may finish."""
        self.error: PyproxyError | None = None
        self.spool: Spool | None = None
        self._readers: dict[object, int] = {}
        self._tick = asyncio.Event()
        self._waiting = 0
        """Readers that have found nothing to send since the last pulse."""
        self._nudge = asyncio.Event()
        """For the download while its window is full."""
        self._checked: Landed | None = None
        self._over = False
        self._room: Room | None = None

    @property
    def arrived(self) -> int:
        return self.spool.size if self.spool is not None else 0

    @property
    def checked(self) -> Landed | None:
        """What it turned out to be, once that is right: nothing is waited for but the disk."""
        return self._checked or self.landed

    @property
    def verified(self) -> bool:
        return self.checked is not None

    @property
    def body(self) -> bytes | None:
        """All of a small file, once it is right: nothing is gained by sending its parts."""
        return self.spool.body() if self.spool is not None and self.spool.small and self.verified else None

    def sendable(self, end: int | None) -> int:
        """Up to which offset an answer that ends at `end` (None: unknown) may be sent now."""
        if self.landed is not None:
            return self.arrived if end is None else min(self.arrived, end)
        return max(0, min(self.arrived, (self.arrived if end is None else end) - HOLD_BACK))

    @property
    def joinable(self) -> bool:
        """Whether one more reader, from now on, would get all of it."""
        return self.error is None and (self.spool is None or self.spool.reachable(0))

    async def changed(self) -> None:
        """Returns when more has arrived, or when it is over. Raises the error of a failed download.

        For those who are `reading`, and have taken all they could.
        """
        tick = self._tick
        if self.error is None and self.landed is None:
            self._waiting += 1
            if self._waiting >= len(self._readers):
                self._nudge.set()
            await tick.wait()
        if self.error is not None:
            raise _again(self.error)

    async def head(self) -> None:
        """Waits for the remote's answer. Raises what the download failed with, if it failed without one."""
        while not self.headed and self.error is None:
            await self._tick.wait()
        if self.error is not None and not self.headed:
            raise _again(self.error)

    async def whole(self) -> Landed:
        """Waits for the verified end."""
        while self.landed is None:
            await self.changed()
        return self.landed

    async def over(self) -> None:
        """Waits until it is stored, or known that it will not be. For those who need none of its bytes."""
        while not self._over:
            await self._tick.wait()

    @contextmanager
    def reading(self, start: int = 0) -> Iterator[Reader]:
        """Keeps the bytes from `start` on within reach. Raises StoreTrouble where they are gone already."""
        if self.spool is not None and not self.spool.reachable(start):
            raise StoreTrouble(f"{self.name} is passed through and its beginning is gone")
        reader = Reader(self, start)
        self._readers[reader] = start
        try:
            yield reader
        finally:
            del self._readers[reader]
            self._forget()
            self._pulse()
            self._maybe_close()

    def at(self, reader: Reader, offset: int) -> None:
        """The reader needs nothing below `offset` any more."""
        self._readers[reader] = offset
        if self._forget():
            self._pulse()

    def _forget(self) -> bool:
        """Frees the memory of what all readers have passed. False where there is none to free."""
        if self.spool is None or self.spool.stays:
            return False
        if self._readers:
            self.spool.forget(min(self._readers.values()))
        return True

    def give_up(self) -> None:
        """It will not be fetched, or not to its end: tells the readers."""
        self.error = self.error or RemoteFailed(self.remote, f"{self.name}: the download was given up")
        self._over = True
        self._pulse()
        self._maybe_close()

    def _pulse(self) -> None:
        tick, self._tick = self._tick, asyncio.Event()
        self._waiting = 0
        tick.set()
        self._nudge.set()

    def _maybe_close(self) -> None:
        if self._over and not self._readers and self.spool is not None:
            self.spool.close()
            # Not before: the bytes of a file that was not kept are on disk as long as somebody reads them.
            if self._room is not None:
                self._room.release()


class Reader:
    """One answer that tails an arrival."""

    __slots__ = ("_arrival", "start")

    def __init__(self, arrival: Tail, start: int) -> None:
        self._arrival = arrival
        self.start = start

    def passed(self, offset: int) -> None:
        """Nothing below `offset` is needed any more."""
        self._arrival.at(self, offset)


def _again(error: PyproxyError) -> PyproxyError:
    # A new object for each reader: raising one in many tasks would grow its traceback and keep their frames alive.
    again = type(error).__new__(type(error), *error.args)
    again.__dict__.update(error.__dict__)
    return again
