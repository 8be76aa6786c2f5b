"""Files on their way into a store: written by one, read by many, and then kept under another name or taken away."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Final

from pyproxy.errors import StoreTrouble
from pyproxy.storage.disk import Disk

log = logging.getLogger(__name__)

LARGE: Final = 32 << 20
"""Bytes of an unlinked file that are not freed on the loop: a GiB takes 39 ms, so this much 1.2 ms."""


def close(fd: int) -> None:
    """Closes a descriptor quickly, on the loop too: where that would free a large file, a thread does it."""
    found = os.fstat(fd)
    if found.st_nlink or found.st_size < LARGE:
        os.close(fd)
        return
    try:
        threading.Thread(target=os.close, args=(fd,), name="pyproxy-close").start()
    except RuntimeError:
        os.close(fd)  # no thread to be had: slow, but a descriptor must not be lost


class Temp:
    """A file on its way: written in order by one owner, read by anyone through `fd`.

    `write` and `discard` may come from different threads. After `discard`, or once it was kept, the descriptor
    is closed: who wants to go on reading has made a duplicate.
    """

    def __init__(self, disk: Disk, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.size = 0
        """Bytes written so far."""
        self._disk = disk
        self._broken = False
        self._unsure: str | None = None  # what the disk said of bytes that it had taken; set by `sync_so_far` alone
        # A discard waits for the write under way: once closed, the descriptor may be another file's.
        self._lock = threading.Lock()

    def write(self, data: bytes | memoryview) -> None:
        """Appends all of the data. Raises StoreFull or StoreTrouble; the temp can then only be read and discarded."""
        with self._lock:
            self._usable()
            self._broken = True
            view = memoryview(data).cast("B")
            if self._disk.failpoints.armed("half-written"):
                half = view[: len(view) // 2]
                self._disk.write(self.fd, half, self.path)
                self._disk.point("half-written", self.path)
                view = view[len(half) :]
            self._disk.write(self.fd, view, self.path)
            self.size += memoryview(data).nbytes
            self._broken = False

    def sync(self) -> None:
        """Makes the bytes last. Blocking. Raises StoreTrouble; the temp is then of no use."""
        with self._lock:
            self._usable()
            self._broken = True
            self._disk.sync(self.fd, self.path)
            self._broken = False

    def sync_so_far(self) -> None:
        """Makes last what is written by now, so that `sync` has less to do. Blocking; writes may go on meanwhile.

        Never raises: where it fails, the temp is of no use, since a second sync would not tell of it.
        """
        try:
            with self._lock:
                self._usable()
                own = os.dup(self.fd)
        except (StoreTrouble, OSError):
            return  # it is gone, or there is no descriptor left: `sync` has all to do
        try:
            self._disk.sync_data(own, self.path)
        except StoreTrouble as exc:
            self._unsure = str(exc)
        finally:
            os.close(own)

    def handed_over(self) -> Temp:
        """The same file as another object; this one no longer owns anything, and its `discard` does nothing.

        Who takes a temp into a thread takes it this way: a cancelled caller then cannot close the descriptor
        under the thread's hands.
        """
        with self._lock:
            self._usable()
            taken = Temp(self._disk, self.path, self.fd)
            taken.size = self.size
            self.fd = -1
            return taken

    def discard(self) -> None:
        """Takes the file away and closes the descriptor. Does nothing the second time; never raises."""
        with self._lock:
            if self.fd < 0:
                return
            try:
                self._disk.unlink(self.path)
            except StoreTrouble as exc:
                # The next start sweeps it: the lock goes with the descriptor.
                log.warning("a temporary file stays behind: %s", exc)
            os.close(self.fd)
            self.fd = -1

    def moved(self) -> None:
        """The file has become a blob: closes the descriptor and leaves the file alone."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def _usable(self) -> None:
        if self.fd < 0:
            raise StoreTrouble(f"{self._disk.shown(self.path)} has been given away")
        if self._unsure is not None:
            raise StoreTrouble(self._unsure)
        if self._broken:
            raise StoreTrouble(f"{self._disk.shown(self.path)} is of no use after an error")
