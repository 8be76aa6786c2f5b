"""The lock on a store: one daemon at a time. The kernel gives it back when its holder dies."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final

from pyproxy.errors import StoreInUse, StoreTrouble
from pyproxy.storage.disk import Disk

log = logging.getLogger(__name__)

PATIENCE: Final = 1.0
"""Seconds a daemon waits for one that is just stopping."""

_POLL: Final = 0.05


class StoreLock:
    """An advisory lock on a file that holds the pid of its holder."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, disk: Disk, path: Path, *, patience: float = PATIENCE) -> StoreLock:
        """Waits up to `patience` seconds. Blocking. Raises StoreInUse, StoreTrouble."""
        deadline = time.monotonic() + patience
        while (lock := cls.try_take(disk, path)) is None:
            if time.monotonic() >= deadline:
                pid = holder(disk, path)
                who = f"pid {pid}" if pid is not None else "pid unknown"
                raise StoreInUse(f"{path}: another pyproxy ({who}) holds the lock on this store")
            time.sleep(_POLL)
        return lock

    @classmethod
    def try_take(cls, disk: Disk, path: Path) -> StoreLock | None:
        """None where another process holds it. Raises StoreTrouble."""
        fd = disk.open_or_create(path)
        taken = False
        try:
            taken = disk.try_lock(fd, path)
        finally:
            if not taken:
                os.close(fd)
        if not taken:
            return None
        try:
            disk.truncate(fd, 0, path)
            disk.write(fd, f"{os.getpid()}\n".encode(), path)
        except StoreTrouble as exc:
            # On a full disk, say. The lock holds all the same; only its holder's pid is not told.
            log.warning("%s", exc)
        return cls(fd)

    def release(self) -> None:
        """Does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(disk: Disk, path: Path) -> int | None:
    """The pid that stands in the lock file; whether it still holds the lock is another question."""
    text = (disk.read_all(path) or b"").strip()
    return int(text) if text.isdigit() else None
