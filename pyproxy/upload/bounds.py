"""How much an uploaded archive may hold, and the account of what its examination has cost so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyproxy.upload.refusal import UploadRefused

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes in bytes. The largest wheels known inflate to about 4 GiB, and have some 50,000 members."""

    members: int = 200_000
    inflated: int = 8 << 30
    """All members together."""
    ratio: int = 50
    """Inflated bytes to bytes of the archive, where there are more than `ratio_from` of them."""
    ratio_from: int = 64 * _MIB
    directory: int = 32 * _MIB
    """A zip archive's central directory; also all names of a tar archive."""
    metadata: int = 4 * _MIB
    """METADATA, PKG-INFO, WHEEL."""
    record: int = 32 * _MIB
    seconds: float = 120.0
    """The whole examination."""


class Budget:
    """What examining one archive of `packed` bytes has used of its bounds. Each method raises UploadRefused."""

    def __init__(self, bounds: Bounds, packed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self._packed = packed
        self._clock = clock
        self._deadline = clock() + bounds.seconds
        self._members = 0
        self._inflated = 0

    def one_more(self) -> None:
        """Counts a member."""
        self._members += 1
        self.foresee(members=self._members)
        self.check_time()

    def spend(self, nbytes: int) -> None:
        """Counts inflated bytes."""
        self._inflated += nbytes
        self.foresee(inflated=self._inflated)
        self.check_time()

    def foresee(self, *, members: int = 0, inflated: int = 0) -> None:
        """Refuses totals that the archive itself announces, before any work is done for them."""
        bounds = self.bounds
        if members > bounds.members:
            raise UploadRefused(f"the archive has more than {bounds.members} members", 413)
        if inflated > bounds.inflated:
            raise UploadRefused(f"the archive inflates to more than {bounds.inflated // _MIB} MiB", 413)
        if inflated > bounds.ratio_from and inflated > bounds.ratio * self._packed:
            raise UploadRefused(f"the archive inflates to more than {bounds.ratio} times its size", 413)

    def check_time(self) -> None:
        if self._clock() > self._deadline:
            raise UploadRefused(f"the archive takes more than {self.bounds.seconds:g} seconds to examine", 413)
