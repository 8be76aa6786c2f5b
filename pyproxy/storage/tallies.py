"""How requests were answered, counted over restarts: a small file that every process counts in and `status` reads.

Each process has a slot of its own, by a lock that dies with it; who takes a slot after it goes on counting there. A
count is a store to shared memory: nothing is written or synced for it, and a crash of the process loses none.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

from pyproxy.metrics import RequestKind, Result

log = logging.getLogger(__name__)

KINDS: Final = get_args(RequestKind)
RESULTS: Final = get_args(Result)

SLOTS: Final = 256
"""Processes that can count at once; any more count for themselves alone."""

_CELL: Final = 8
_SLOT: Final = 64 * _CELL
_HEAD: Final = 512
_SIZE: Final = _HEAD + SLOTS * _SLOT
_TITLE: Final = f"pyproxy tallies 1: {','.join(KINDS)}; {','.join(RESULTS)}\n".encode()
"""A file that counts other things is begun anew."""

_INSTANT: Final = struct.Struct("=Q")
_SINCE: Final = _HEAD - _CELL
"""Where the head tells since when is counted, in microseconds since the epoch."""

_CELLS: Final = {(kind, result): at for at, (kind, result) in enumerate((k, r) for k in KINDS for r in RESULTS)}

_FROM_CACHE: Final = ("hit", "stale", "revalidated")
_CACHED: Final[tuple[RequestKind, ...]] = ("simple", "file", "metadata", "json")
"""The kinds that a cache may answer."""


class Tallies:
    """The counts of one process. The file is opened with the first of them. Used on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cells: memoryview | None = None
        self._fd = -1

    def count(self, kind: RequestKind, result: Result) -> int:
        """Counts one answer; where another like it is to be counted by `again`."""
        cells = self._cells
        if cells is None:
            cells = self._cells = self._opened()
        at = _CELLS[kind, result]
        cells[at] += 1
        return at

    def again(self, at: int, count: int = 1) -> None:
        """Counts so many more, in a tenth of the time."""
        if self._cells is not None:
            self._cells[at] += count

    def close(self) -> None:
        """Does nothing the second time."""
        if self._cells is not None:
            self._cells.release()
            self._cells = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _opened(self) -> memoryview:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._make()
            slot = _free_slot(self._fd)
            if slot is not None:
                begin = _HEAD + slot * _SLOT
                return memoryview(mmap.mmap(self._fd, _SIZE))[begin : begin + _SLOT].cast("Q")
            log.warning("more than %d processes count requests: hit rates miss some", SLOTS)
        except OSError as exc:
            log.warning("requests are not counted for `pyproxy status`: %s", exc.strerror or exc)
        return memoryview(bytearray(_SLOT)).cast("Q")

    def _make(self) -> None:
        """Lays the file out unless it is, its room taken now: a full disk would be a fault (SIGBUS) later."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX, _HEAD, 0)
        try:
            if os.pread(self._fd, len(_TITLE), 0) == _TITLE and os.fstat(self._fd).st_size == _SIZE:
                return
            os.ftruncate(self._fd, 0)
            os.posix_fallocate(self._fd, 0, _SIZE)
            os.pwrite(self._fd, _INSTANT.pack(int(time.time() * 1e6)), _SINCE)
            os.pwrite(self._fd, _TITLE, 0)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _HEAD, 0)


def _free_slot(fd: int) -> int | None:
    for slot in range(SLOTS):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _SLOT, _HEAD + slot * _SLOT)
        except OSError:
            continue
        return slot
    return None


@dataclass(frozen=True, slots=True)
class Answered:
    """How requests were answered since an instant (seconds since the epoch), by kind and result."""

    since: float | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def rates(self) -> dict[str, tuple[float, int]]:
        """By kind, which part was answered from the cache, and of how many; refusals and errors are not among them."""
        found: dict[str, tuple[float, int]] = {}
        for kind in _CACHED:
            results = self.counts.get(kind, {})
            here = sum(results.get(result, 0) for result in _FROM_CACHE)
            total = here + results.get("miss", 0)
            if total:
                found[kind] = (here / total, total)
        return found


def answered(path: Path) -> Answered:
    """What all processes have counted so far; nothing where the file is missing or none that can be read."""
    try:
        data = path.read_bytes()
    except OSError:
        return Answered()
    if len(data) != _SIZE or not data.startswith(_TITLE):
        return Answered()
    cells = memoryview(data)[_HEAD:].cast("Q")
    counts: dict[str, dict[str, int]] = {}
    for (kind, result), at in _CELLS.items():
        if total := sum(cells[at :: _SLOT // _CELL]):
            counts.setdefault(kind, {})[result] = total
    return Answered(_INSTANT.unpack_from(data, _SINCE)[0] / 1e6, counts)
