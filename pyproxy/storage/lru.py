"""Which blobs must go so that nbytes fit. Decides; never touches a disk or a clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyproxy.model import Sha256


def victims(
    oldest_first: Iterable[tuple[Sha256, int]], excess: int, *, spared: Collection[Sha256] = ()
) -> list[tuple[Sha256, int]]:
    """The blobs to drop, longest unused first, until at least `excess` bytes are gone.

    `oldest_first` gives (digest, size) and is read no further than needed. Blobs in `spared` stay. All others
    are returned where even they do not suffice.
    """
    chosen: list[tuple[Sha256, int]] = []
    for digest, size in oldest_first:
        if excess <= 0:
            break
        if digest not in spared:
            chosen.append((digest, size))
            excess -= size
    return chosen


def next_tick(last: int, now: int) -> int:
    """An access time in microseconds, later than every one before, also when the clock was set back."""
    return max(now, last + 1)
