"""By when something must have come: many waits, one timer of the loop.

Nearly all of them are over in time. A timer for each, made, put in order and called off, took some 40 calls of
functions, of 1700 that a cold page takes in all, and each page had three.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

GRAIN: Final = 0.01
"""Seconds between two looks for who is late, where some were: of thousands that come to nothing one after the other,
each would have all the others looked through."""


class Deadlines(Generic[K]):
    """Those of one sort of waits. `late` is called with the key of each that is not called off in time.

    Used on one event loop. Times are the loop's.
    """

    def __init__(self, late: Callable[[K], None]) -> None:
        self._late = late
        self._due: dict[K, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf  # when the timer does: at the first deadline, or before it if that was called off

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, when: float) -> None:
        """`late` is called then, unless `drop` is before."""
        self._due[key] = when
        if when < self._rings:
            self._ring_at(when)

    def drop(self, key: K) -> None:
        """Nothing happens where there is no such key, or no more."""
        self._due.pop(key, None)

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings = asyncio.get_running_loop().call_at(when, self._ring), when

    def _ring(self) -> None:
        self._timer, self._rings = None, math.inf
        # The loop calls as much too early as its clock is coarse, and calls again then.
        now = asyncio.get_running_loop().time()
        late = sorted((key for key, when in self._due.items() if when <= now), key=self._due.__getitem__)
        try:
            for key in late:
                if self._due.pop(key, None) is not None:
                    self._late(key)
        finally:  # whatever became of one: every wait has an end
            if self._due:
                self._ring_at(max(min(self._due.values()), now + GRAIN if late else now))
