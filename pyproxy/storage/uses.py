"""When each blob was last used, until it is written down: noting a use costs no write.

A crash loses at most the last minutes of it, which only blurs the order of eviction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from pyproxy.model import Sha256
from pyproxy.storage.lru import next_tick

FLUSH_SECONDS: Final = 600.0
FLUSH_ENTRIES: Final = 10_000


class Uses:
    """The uses since the last flush. `last` is the latest use on record, in microseconds since the epoch."""

    def __init__(self, last: int, *, clock: Callable[[], float] = time.time) -> None:
        self.flush_seconds: float | None = None
        """How long a use may stay unwritten; None: FLUSH_SECONDS."""
        self._clock = clock
        self._tick = last
        self._noted: dict[Sha256, int] = {}
        self._flushed_at = time.monotonic()
        self._lock = threading.Lock()  # guards all of the above: the loop notes, threads flush; never held over I/O

    def now(self) -> int:
        """An access time later than every one given before, also when the clock was set back."""
        with self._lock:
            return self._next()

    def note(self, digest: Sha256) -> bool:
        """Notes a use; True, once, when it is time to flush."""
        with self._lock:
            self._noted[digest] = self._next()
            due = len(self._noted) >= FLUSH_ENTRIES or time.monotonic() - self._flushed_at >= (
                self.flush_seconds or FLUSH_SECONDS
            )
            if due:
                self._flushed_at = time.monotonic()
            return due

    def noted(self) -> list[tuple[Sha256, int]]:
        with self._lock:
            return list(self._noted.items())

    def take(self) -> dict[Sha256, int]:
        """The uses, to be written down; `give_back` what could not be."""
        with self._lock:
            taken, self._noted = self._noted, {}
            self._flushed_at = time.monotonic()
            return taken

    def give_back(self, taken: dict[Sha256, int]) -> None:
        with self._lock:
            self._noted = {**taken, **self._noted}

    def forget(self, digests: Iterable[Sha256]) -> None:
        with self._lock:
            for digest in digests:
                self._noted.pop(digest, None)

    def _next(self) -> int:
        self._tick = next_tick(self._tick, int(self._clock() * 1e6))
        return self._tick
