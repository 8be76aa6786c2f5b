"""Bytes promised to downloads under way, counted against the limit together with what is committed."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from pyproxy.errors import StoreFull

Tell: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Notes what one process has reserved, and what of it is settling; gives both of all processes together."""


class Room:
    """The reservations of one process, and what it knows of those of its fellows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes that blobs and reservations may take together. A reload may set it."""
        self._reserved = 0
        self._settling = 0
        self._tell: Tell = lambda reserved, settling: (reserved, settling)
        self._lock = threading.Lock()  # guards all: the loop claims, the threads of the cache settle and give back

    @property
    def reserved(self) -> int:
        """By this process."""
        return self._reserved

    @property
    def reserved_by_all(self) -> int:
        with self._lock:
            return self._tell(self._reserved, self._settling)[0]

    @property
    def pledged(self) -> int:
        """By all: reserved, or in a transaction that may not be committed yet: read it before what is committed."""
        with self._lock:
            return sum(self._tell(self._reserved, self._settling))

    def share(self, tell: Tell) -> None:
        """Counts together with other processes from now on."""
        with self._lock:
            self._tell = tell
            tell(self._reserved, self._settling)

    def claim(self, nbytes: int) -> None:
        """Raises StoreFull where no eviction could make room: nothing need be evicted to find that out."""
        with self._lock:
            if nbytes > self.limit:
                raise StoreFull(f"{nbytes} bytes do not fit into a cache of {self.limit}")
            # Told before it is looked at: of two processes that claim at once, one at least sees both.
            taken = self._tell(self._reserved + nbytes, self._settling)[0] - nbytes
            if taken + nbytes > self.limit:
                self._tell(self._reserved, self._settling)
                raise StoreFull(f"downloads under way have taken {taken} of the cache's {self.limit} bytes")
            self._reserved += nbytes

    def settle(self, nbytes: int) -> None:
        """The transaction under way counts these bytes itself; until it is committed nobody else sees them there."""
        with self._lock:
            self._reserved -= nbytes
            self._settling += nbytes
            self._tell(self._reserved, self._settling)

    def give_back(self, nbytes: int, settled: int = 0) -> None:
        with self._lock:
            self._reserved -= nbytes
            self._settling -= settled
            self._tell(self._reserved, self._settling)


class Reservation:
    """Bytes that may be written. Release it in any case; `keep` takes it over."""

    def __init__(self, room: Room, nbytes: int, grow: Callable[[int], Awaitable[None]]) -> None:
        self.nbytes = nbytes
        self._room = room
        self._grow = grow
        self._settled = 0
        self._lock = threading.Lock()  # a release on the loop may meet one in a thread; each byte goes back once

    async def grow(self, nbytes: int) -> None:
        """Reserves so many bytes more. Raises StoreFull, StoreTrouble; what was reserved before stays so."""
        await self._grow(nbytes)
        with self._lock:
            self.nbytes += nbytes

    def settle(self) -> None:
        """Its bytes are those of a blob from here on, in the transaction that calls this. `release` it all the same."""
        with self._lock:
            nbytes, self.nbytes = self.nbytes, 0
            self._settled += nbytes
        self._room.settle(nbytes)

    def release(self) -> None:
        """Gives all of it back. Does nothing the second time."""
        with self._lock:
            nbytes, self.nbytes = self.nbytes, 0
            settled, self._settled = self._settled, 0
        self._room.give_back(nbytes, settled)

    def handed_over(self) -> Reservation:
        """The same bytes as another object; releasing this one then does nothing."""
        with self._lock:
            nbytes, self.nbytes = self.nbytes, 0
        return Reservation(self._room, nbytes, self._grow)
