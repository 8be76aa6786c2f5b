"""Whether another worker has changed a page since one looked: two stamps that are equal say that nobody has."""

from __future__ import annotations

from typing import Protocol

from pyproxy.fellows.board import Board, Column


class Changes(Protocol):
    """A stamp that is another after each change, whoever made it."""

    @property
    def shared(self) -> bool:
        """Whether anybody else makes changes."""

    @property
    def stamp(self) -> bytes: ...

    def note(self) -> None:
        """Tells the others. To be called after the change is there to be read."""


class OwnChanges:
    """For a worker without fellows: what it changes it knows."""

    shared = False
    stamp = b""

    def note(self) -> None:
        pass


class SharedChanges:
    """Counted on the board, by each worker in its own place."""

    shared = True

    def __init__(self, board: Board, index: int) -> None:
        self._board = board
        self._index = index

    @property
    def stamp(self) -> bytes:
        return self._board.stamp(Column.CHANGES)

    def note(self) -> None:
        self._board.put(Column.CHANGES, self._index, self._board.get(Column.CHANGES, self._index) + 1)
