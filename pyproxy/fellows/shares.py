"""What the downloads of all workers have reserved of the cache, and how many connections each of them has."""

from __future__ import annotations

import time
from typing import Final

from pyproxy.fellows.board import Board, Column

FAIR: Final = 2
"""Connections that a worker may have more than the one that has fewest, before it lets others go first."""

ALIVE: Final = 2.5
"""Seconds without a beat after which a worker is not waited for."""


class Shares:
    """One worker's places in the columns, and all of them."""

    def __init__(self, board: Board, index: int) -> None:
        self._board = board
        self._index = index

    def pledge(self, reserved: int, settling: int) -> tuple[int, int]:
        """Notes what this process has reserved, and what of it is being committed; both of all together."""
        # What settles is told first: whoever looks in between counts it twice, not never.
        self._board.put(Column.SETTLING, self._index, settling)
        self._board.put(Column.RESERVED, self._index, reserved)
        return sum(self._board.all(Column.RESERVED)), sum(self._board.all(Column.SETTLING))

    def beat(self) -> None:
        """The loop turns."""
        self._board.put(Column.BEAT, self._index, time.monotonic_ns())

    def is_ahead(self, connections: int) -> bool:
        """Notes how many connections this process has; whether others should be let take the next one."""
        self._board.put(Column.CONNECTIONS, self._index, connections)
        since = time.monotonic_ns() - int(ALIVE * 1e9)
        beats = self._board.all(Column.BEAT)
        others = [n for n, beat in zip(self._board.all(Column.CONNECTIONS), beats, strict=True) if beat > since]
        return bool(others) and connections > min(others) + FAIR
