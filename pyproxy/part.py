"""A part of an open file, held open for as long as anybody may still send it."""

from __future__ import annotations

import os
from dataclasses import dataclass


class Descriptor:
    """An open file, closed when nobody has it any more."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        """Takes the descriptor over."""
        self.fd = fd

    def __del__(self) -> None:
        # Those who send from it end at any time and in any order; the last of them cannot know that it is.
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Part:
    """`length` bytes of a file, from `start` on."""

    file: Descriptor
    start: int
    length: int


def in_memory(body: bytes) -> Part:
    """The bytes as a file that lies in memory alone. Raises OSError."""
    file = Descriptor(os.memfd_create("pyproxy", os.MFD_CLOEXEC))
    left = memoryview(body)
    while left:
        left = left[os.write(file.fd, left) :]
    return Part(file, 0, len(body))
