"""What the workers of one daemon know of each other: whose turn it is, what has changed, what is on its way.

A worker without fellows has the same, and none of it costs anything: `alone()`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyproxy.fellows.board import Board, Column
from pyproxy.fellows.changes import Changes, OwnChanges, SharedChanges
from pyproxy.fellows.downloads import Downloads, Failure, Notice, Slot, State
from pyproxy.fellows.shares import Shares
from pyproxy.fellows.turns import FreeTurns, SharedTurns, Turn, Turns

__all__ = [
    "KEY_BYTES",
    "Board",
    "Changes",
    "Column",
    "Downloads",
    "Failure",
    "Fellows",
    "Notice",
    "OwnChanges",
    "Shared",
    "Shares",
    "Slot",
    "State",
    "Turn",
    "Turns",
    "alone",
]


KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Shared:
    """What only a worker with fellows has."""

    turns: SharedTurns
    downloads: Downloads
    shares: Shares


@dataclass(frozen=True, slots=True)
class Fellows:
    """`count`: how many workers there are, this one included. `key`: random bytes that they alone have."""

    count: int
    turns: Turns
    changes: Changes
    key: bytes
    shared: Shared | None = None


def alone() -> Fellows:
    """A worker that has no fellows."""
    return Fellows(1, FreeTurns(), OwnChanges(), os.urandom(KEY_BYTES))


def fellows(board: Board, index: int, turns: Path, key: bytes) -> Fellows:
    """One of the workers that have this board and this file of turns. Raises StoreTrouble."""
    shared = SharedTurns(turns)
    return Fellows(
        board.count,
        shared,
        SharedChanges(board, index),
        key,
        Shared(shared, Downloads(board, index), Shares(board, index)),
    )
