"""Distributions as of a moment, made when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from pyproxy.errors import DistributionUnknown
from pyproxy.instants import as_instant
from pyproxy.model import printable
from pyproxy.site.distribution import Distribution

MOMENTS = 64
"""Distributions as of a moment that are kept."""


class Moments:
    """Distributions as of a moment, made when they are asked for; the last `MOMENTS` of them are kept."""

    def __init__(self, make: Callable[[Distribution, float, str], Distribution]) -> None:
        self._make = make
        self._kept: OrderedDict[str, Distribution] = OrderedDict()

    def of(self, distribution: Distribution, instant: str) -> Distribution:
        """Raises DistributionUnknown where that is no instant, VersionUnknown where the version of then was pruned."""
        base_path = f"{distribution.base_path}~{instant}"
        found = self._kept.get(base_path)
        if found is None:
            seconds = as_instant(instant)
            if seconds is None:
                raise DistributionUnknown(f"{printable(instant)} is neither a date nor an RFC 3339 instant")
            found = self._make(distribution, seconds, base_path)
            self._kept[base_path] = found
        self._kept.move_to_end(base_path)
        while len(self._kept) > MOMENTS:
            self._kept.popitem(last=False)
        return found
