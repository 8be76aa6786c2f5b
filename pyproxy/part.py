"""A part of an open file, held open for as long as anybody may still send it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path


class Descriptor:
    """An open file, closed when nobody has it any more."""

    __slots__ = ("_close", "fd")

    def __init__(self, fd: int, close: Callable[[int], None] = os.close) -> None:
        """Takes the descriptor over. `close`: for a file that may be gone by then, as freeing a large one is slow."""
        self.fd = fd
        self._close = close

    def __del__(self) -> None:
        # Those who send from it end at any time and in any order; the last of them cannot know that it is.
        self._close(self.fd)


@dataclass(frozen=True, slots=True)
class Part:
    """`length` bytes of a file, from `start` on."""

    file: Descriptor
    start: int
    length: int


class Spool:
    """Makes files of bytes, for the kernel to send from. They have no name: nothing of them outlives the process.

    The pages of a disk's file come in larger pieces than those of memory alone, which the kernel sends in two thirds of
    the time. Nothing waits for that disk: the file is made in a thread of `pool`.
    """

    def __init__(self, folder: Path | None = None, pool: Executor | None = None) -> None:
        """Without a folder, or where that has no room, files lie in memory; without a pool they are made at once."""
        self._folder = folder
        self._pool = pool

    def lay(self, pieces: Sequence[bytes | Part], done: Callable[[Part], None]) -> None:
        """Has `done` called on the loop with a file of the pieces one behind the other; never, where none is to be had.

        Nothing in a file is ever written again: the kernel may still be sending it.
        """
        if self._pool is None:
            _tell(_laid(pieces, self._folder), done)
            return
        try:
            laying = asyncio.get_running_loop().run_in_executor(self._pool, _laid, pieces, self._folder)
        except RuntimeError:
            return  # no thread to be had
        laying.add_done_callback(lambda laid: None if laid.cancelled() else _tell(laid.result(), done))


def _tell(part: Part | None, done: Callable[[Part], None]) -> None:
    if part is not None:
        done(part)


def _laid(pieces: Sequence[bytes | Part], folder: Path | None) -> Part | None:
    if folder is not None and hasattr(os, "O_TMPFILE"):
        try:
            return _written(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), pieces)
        except OSError:
            pass  # full, or of a kind that knows no files without a name: memory does as well
    try:
        return _written(os.memfd_create("pyproxy", os.MFD_CLOEXEC), pieces)
    except OSError:
        return None  # no descriptor left: who asked goes on without


def _written(fd: int, pieces: Sequence[bytes | Part]) -> Part:
    file = Descriptor(fd)
    texts = [piece if isinstance(piece, bytes) else _read(piece) for piece in pieces]
    total = sum(map(len, texts))
    given = os.writev(fd, texts)  # at once: so the kernel keeps the file in pages as large as it can
    left = memoryview(b"".join(texts))[given:] if given < total else b""
    while left:
        left = left[os.write(fd, left) :]
    return Part(file, 0, total)


def _read(part: Part) -> bytes:
    """Raises OSError."""
    data = os.pread(part.file.fd, part.length, part.start)
    if len(data) < part.length:
        raise OSError(errno.EIO, "a stored file is shorter than it was")
    return data
