"""The bytes of a download under way: in memory while few, then on disk, and once the disk refuses, a window of memory.

Readers find everything up to `on_disk` in the file. What came after the disk refused is kept in memory
only until the slowest reader has passed it, so a full disk costs the cache and not the client.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections import deque

from pyproxy.errors import StoreTrouble
from pyproxy.storage.temps import Temp, close

WINDOW = 8 * 1024 * 1024
"""Bytes of memory one download may take once the disk has refused."""


class Spool:
    """Written by one task; read by many, through `fd` below `on_disk` and through `read` above.

    With an `fd` (taken over) and no temp it is a file that somebody else writes, or has written. A `small` one keeps
    all in memory until it moves to a file.
    """

    def __init__(self, temp: Temp | None, *, fd: int = -1, small: bool = False) -> None:
        """Raises StoreTrouble where there are no descriptors left."""
        self.temp = temp
        self.small = small
        self.size = 0
        self.on_disk = 0
        # A descriptor of our own: the temp file is closed when it becomes a blob, readers go on.
        self.fd = _own(temp.fd) if temp is not None else fd
        self._closed = False
        self._window: deque[tuple[int, bytes]] = deque()
        self._window_bytes = 0

    @property
    def whole_on_disk(self) -> bool:
        return self.fd >= 0 and self.on_disk == self.size

    @property
    def stays(self) -> bool:
        """Whether all that has come remains within reach, however far its readers are."""
        return self.small or self.whole_on_disk

    @property
    def crowded(self) -> bool:
        """The window is full: let the readers catch up before more is fetched."""
        return self._window_bytes >= WINDOW

    @property
    def floor(self) -> int:
        """The lowest offset above `on_disk` that can still be read."""
        return self._window[0][0] if self._window else self.size

    def write(self, data: bytes | memoryview) -> None:
        """Appends to the file. Blocking. Raises StoreTrouble, after which `hold` takes the same data."""
        if not self.whole_on_disk or self.temp is None:
            raise StoreTrouble("the disk has refused this file before")
        self.temp.write(data)

    def written(self, count: int) -> None:
        """`count` bytes more are in the file."""
        self.on_disk += count
        self.size += count

    def hold(self, data: bytes) -> None:
        """Keeps the next bytes in memory."""
        self._window.append((self.size, data))
        self._window_bytes += len(data)
        self.size += len(data)

    def body(self) -> bytes:
        """All of a small one."""
        return b"".join(data for _, data in self._window)

    def move(self, temp: Temp) -> None:
        """Goes on in a file. Blocking. Raises StoreTrouble; what has come then stays in memory."""
        body = self.body()
        fd = _own(temp.fd)
        try:
            temp.write(body)
        except BaseException:
            os.close(fd)
            raise
        self.temp, self.fd, self.on_disk = temp, fd, self.size
        self._window.clear()
        self._window_bytes = 0

    def forget(self, before: int) -> None:
        """No reader will ask for bytes below this offset again."""
        while self._window and self._window[0][0] + len(self._window[0][1]) <= before:
            _, data = self._window.popleft()
            self._window_bytes -= len(data)

    def reachable(self, offset: int) -> bool:
        """Whether a reader may begin at this offset and read on to the end."""
        if self._closed:
            return False
        return self.whole_on_disk or self.floor == self.on_disk or offset >= self.floor

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`, wherever they are. Raises StoreTrouble for bytes already forgotten."""
        if offset < self.on_disk:
            return self._read_file(offset, min(limit, self.on_disk - offset))
        for start, data in self._window:
            if start <= offset < start + len(data):
                return data[offset - start : offset - start + limit]
        raise StoreTrouble("bytes that were passed through are gone")

    def opened(self) -> int | None:
        """A descriptor for reading all that has come, which the caller closes; None where some of it is gone.

        Raises StoreTrouble.
        """
        if not self.small:
            return _own(self.fd) if self.whole_on_disk else None
        try:
            fd = _unnamed()
            with contextlib.ExitStack() as undo:
                undo.callback(os.close, fd)
                os.write(fd, self.body())
                undo.pop_all()
            return fd
        except OSError as exc:
            raise StoreTrouble(f"cannot write a temporary file: {exc.strerror}") from exc

    def _read_file(self, offset: int, limit: int) -> bytes:
        try:
            data = os.pread(self.fd, limit, offset)
        except OSError as exc:
            raise StoreTrouble(f"cannot read a temporary file: {exc.strerror}") from exc
        if not data:
            raise StoreTrouble("a temporary file is shorter than it was")
        return data

    def close(self) -> None:
        """Gives the descriptor and the window back. The temp file is the owner's business."""
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1
        self._closed = True
        self._window.clear()
        self._window_bytes = 0


def _own(fd: int) -> int:
    """A descriptor beside another's, which may be closed any time. Raises StoreTrouble."""
    try:
        return os.dup(fd)
    except OSError as exc:
        raise StoreTrouble(f"cannot read a temporary file: {exc.strerror}") from exc


def _unnamed() -> int:
    if sys.platform == "linux":
        return os.memfd_create("pyproxy-small", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
