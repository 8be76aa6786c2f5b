"""Counts what has changed in this process that an answer may have shown: whoever remembers an answer looks here.

What other processes change of local content stands in its index, which has a number of its own (`Repositories.stamp`).
"""

from __future__ import annotations

_CELLS = 1024


class News:
    """Numbers that only grow. Written by the event loop's thread, as every index is.

    Projects share a fixed number of counters, so memory is bounded; one that looks changed and is not costs a look.
    """

    __slots__ = ("_cells", "total")

    def __init__(self) -> None:
        self._cells = [0] * _CELLS
        self.total = 0
        """Of all changes."""

    def tell(self, project: str) -> None:
        """What is shown of this project may be another from now on."""
        self.total += 1
        self._cells[hash(project) % _CELLS] += 1

    def tell_all(self) -> None:
        """Anything may be another from now on."""
        self.total += 1
        self._cells[:] = [count + 1 for count in self._cells]

    def about(self, project: str) -> tuple[list[int], int]:
        """Where its number stands: another than before where something of the project has changed since."""
        return self._cells, hash(project) % _CELLS
