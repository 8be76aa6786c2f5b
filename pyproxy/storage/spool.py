"""The bytes of a download under way: on disk, and once the disk refuses, a window of memory.

Readers find everything up to `on_disk` in the file. What came after the disk refused is kept in memory
only until the slowest reader has passed it, so a full disk costs the cache and not the client.
"""

from __future__ import annotations

import os
from collections import deque

from pyproxy.errors import StoreTrouble
from pyproxy.storage.blobs import Temp, close

WINDOW = 8 * 1024 * 1024
"""Bytes of memory one download may take once the disk has refused."""


class Spool:
    """Written by one task; read by many, through `fd` below `on_disk` and through `read` above.

    With an `fd` (taken over) and no temp it is a file that somebody else writes, or has written.
    """

    def __init__(self, temp: Temp | None, *, fd: int = -1) -> None:
        """Raises StoreTrouble where there are no descriptors left."""
        self.temp = temp
        self.size = 0
        self.on_disk = 0
        # A descriptor of our own: the temp file is closed when it becomes a blob, readers go on.
        try:
            self.fd = os.dup(temp.fd) if temp is not None else fd
        except OSError as exc:
            raise StoreTrouble(f"cannot read a temporary file: {exc.strerror}") from exc
        self._closed = False
        self._window: deque[tuple[int, bytes]] = deque()
        self._window_bytes = 0

    @property
    def whole_on_disk(self) -> bool:
        return self.fd >= 0 and self.on_disk == self.size

    @property
    def crowded(self) -> bool:
        """The window is full: let the readers catch up before more is fetched."""
        return self._window_bytes >= WINDOW

    @property
    def floor(self) -> int:
        """The lowest offset above `on_disk` that can still be read."""
        return self._window[0][0] if self._window else self.size

    def write(self, data: bytes) -> None:
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
