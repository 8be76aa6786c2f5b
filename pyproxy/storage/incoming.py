"""Files that are to be kept, and the groups in which small ones are: each costs syncs that all of a group can share."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from pyproxy.errors import StoreTrouble
from pyproxy.storage.room import Reservation
from pyproxy.storage.rows import FileRecord
from pyproxy.storage.temps import Temp

T = TypeVar("T")
R = TypeVar("R")

GROUP: Final = 16
"""Files kept at once at most: who is the first of them waits for the last, which beside a busy loop takes 3 ms each."""

MEMORY: Final = 64 << 20
"""Bytes that may wait for the disk: one that hangs costs the cache, not the daemon."""

SLOW: Final = 0.005
"""Seconds for one sync after which several are asked for at once. A disk that is quicker loses more by the threads."""


@dataclass(slots=True)
class Incoming:
    """A file to be kept, last used at `used`: its bytes in a temp, or in memory. Who keeps it owns temp and room."""

    key: str
    record: FileRecord
    room: Reservation
    used: int
    temp: Temp | None = None
    body: bytes = b""
    trouble: Exception | None = None

    def let_go(self) -> None:
        """Gives back what was not used up. Does nothing the second time."""
        self.room.release()
        if self.temp is not None:
            self.temp.discard()


def failed(incoming: Iterable[Incoming], exc: Exception) -> None:
    """Notes for all what went wrong, where nothing has before."""
    for one in incoming:
        one.trouble = one.trouble or exc


class Gathering:
    """What waits to be kept. One thread at a time takes what there is; what comes meanwhile makes the next group.

    Sixteen threads, each with its own file, spent most of their time on waiting for the interpreter's lock.
    """

    def __init__(
        self, keep: Callable[[Sequence[Incoming]], None], submit: Callable[[Callable[[], None]], object]
    ) -> None:
        self._keep = keep
        self._submit = submit
        self._waiting: list[tuple[Incoming, asyncio.Future[None]]] = []
        self._nbytes = 0
        """Of the bodies that wait or are being kept."""
        self._going = False
        self._lock = threading.Lock()  # guards all: the loop adds, the thread takes; never held over I/O

    def add(self, one: Incoming) -> asyncio.Future[None]:
        """Done when it is kept; else it has the `trouble`.

        Raises StoreTrouble where the cache is closed, or too much waits for the disk already.
        """
        kept = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._nbytes + len(one.body) > MEMORY:
                raise StoreTrouble("the disk takes nothing, and no more can wait for it")
            self._nbytes += len(one.body)
            self._waiting.append((one, kept))
            if self._going:
                return kept
            self._going = True
        try:
            self._submit(self._work)
        except BaseException:
            with self._lock:
                self._going = False
                self._waiting.remove((one, kept))
                self._nbytes -= len(one.body)
            raise
        return kept

    def _work(self) -> None:
        while group := self._taken():
            incoming = [one for one, _ in group]
            try:
                self._keep(incoming)
            except Exception as exc:  # noqa: BLE001 - whatever it is, who waits is told, and the next group's turn comes
                failed(incoming, exc)
            with self._lock:
                self._nbytes -= sum(len(one.body) for one in incoming)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                group[0][1].get_loop().call_soon_threadsafe(_tell, group)

    def _taken(self) -> list[tuple[Incoming, asyncio.Future[None]]]:
        with self._lock:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            self._going = bool(group)
            return group


def spread(pool: Executor, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """As `map`; once one takes long the others go to threads, as a disk does many syncs in the time of one.

    For one thread of the pool at a time, as it waits for others.
    """
    for at, item in enumerate(items):
        began = time.monotonic()
        yield work(item)
        if time.monotonic() - began > SLOW:
            try:
                rest = [pool.submit(work, other) for other in items[at + 1 :]]
            except RuntimeError:  # the pool is closing: then one by one
                continue
            yield from (one.result() for one in rest)
            return


def _tell(group: list[tuple[Incoming, asyncio.Future[None]]]) -> None:
    for one, kept in group:
        if kept.done():
            continue
        if one.trouble is None:
            kept.set_result(None)
        else:
            kept.set_exception(one.trouble)
