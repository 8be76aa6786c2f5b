"""The memory that the workers of one daemon share: columns of numbers, a place in each for every worker, and notices.

Nothing here is locked: each worker writes its own places alone. The supervisor writes those of a worker that has died.
The memory has no file, so a full disk does not matter to it, and it is gone with the last process.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from enum import IntEnum
from typing import Final

SLOTS: Final = 512
"""Downloads that one worker can have on the board at once."""

KEY: Final = 16
NOTICE: Final = 1024
"""Bytes of a slot's key and of its notice."""

_NUMBER: Final = 8


class Column(IntEnum):
    """What stands in the columns, as unsigned 64-bit numbers."""

    CHANGES = 0
    """How many times the worker has changed a page that others may have in memory."""
    RESERVED = 1
    """Bytes of the cache that its downloads under way have reserved."""
    SETTLING = 2
    """Bytes that it is just committing."""
    BEAT = 3
    """When its loop last turned: nanoseconds of the monotonic clock, which all processes share."""
    CONNECTIONS = 4
    """Connections of clients it has open."""


class Board:
    """The memory, mapped into this process. `fd` stays open for as long as workers may have to be given it."""

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self.count = count
        self._keys = len(Column) * count * _NUMBER
        self._notices = self._keys + count * SLOTS * KEY
        self.memory = mmap.mmap(fd, _size(count))
        # A view of whole numbers: each is read and written in one step, so that nobody ever sees the half of one.
        self._numbers = memoryview(self.memory)[: self._keys].cast("Q")

    @classmethod
    def create(cls, count: int) -> Board:
        """A board for so many workers, everything on it zero."""
        fd = _memory()
        os.ftruncate(fd, _size(count))
        return cls(fd, count)

    def close(self) -> None:
        self._numbers.release()
        self.memory.close()
        os.close(self.fd)

    # ------------------------------------------------------------------ numbers

    def get(self, column: Column, index: int) -> int:
        return self._numbers[column * self.count + index]

    def put(self, column: Column, index: int, value: int) -> None:
        self._numbers[column * self.count + index] = value

    def all(self, column: Column) -> list[int]:
        return self._numbers[column * self.count : (column + 1) * self.count].tolist()

    def stamp(self, column: Column) -> bytes:
        """The whole column, to be compared: 0.1 µs."""
        start = column * self.count * _NUMBER
        return self.memory[start : start + self.count * _NUMBER]

    # ------------------------------------------------------------------ notices

    def slots_of(self, index: int) -> range:
        """The slots that a worker may write to."""
        return range(index * SLOTS, (index + 1) * SLOTS)

    def key(self, slot: int) -> bytes:
        start = self._keys + slot * KEY
        return self.memory[start : start + KEY]

    def put_key(self, slot: int, key: bytes) -> None:
        start = self._keys + slot * KEY
        self.memory[start : start + KEY] = key

    def with_key(self, key: bytes) -> list[int]:
        """The slots under a key: some microseconds a worker."""
        found: list[int] = []
        at = self.memory.find(key, self._keys, self._notices)
        while at >= 0:
            slot, beside = divmod(at - self._keys, KEY)
            if not beside:
                found.append(slot)
            at = self.memory.find(key, at + 1, self._notices)
        return found

    def notice(self, slot: int) -> bytes:
        start = self._notices + slot * NOTICE
        return self.memory[start : start + NOTICE]

    def put_notice(self, slot: int, data: bytes) -> None:
        start = self._notices + slot * NOTICE
        self.memory[start : start + len(data)] = data


def _size(count: int) -> int:
    return count * (len(Column) * _NUMBER + SLOTS * (KEY + NOTICE))


def _memory() -> int:
    if sys.platform == "linux":
        return os.memfd_create("pyproxy-board", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
