"""A remote as it runs: its upstream, its cache and its downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyproxy.arrival import Arrival
from pyproxy.arrivals import Arrivals
from pyproxy.config import RemoteConfig
from pyproxy.index.cached import CachedIndex
from pyproxy.index.upload_times import TimedIndex
from pyproxy.upstream import Upstream


class SourceArrivals(Arrivals):
    """The downloads of the whole daemon as one source has them: it joins any, and knows those that it began."""

    def __init__(self, common: Arrivals) -> None:
        super().__init__()
        self._common = common
        self._begun: set[Arrival] = set()

    @property
    def busy(self) -> bool:
        """Whether one that it began is still under way."""
        return bool(self._under_way_of_mine())

    def join(self, key: str, make: Callable[[], Arrival]) -> Arrival:
        return self._common.join(key, lambda: self._begin(make))

    def _begin(self, make: Callable[[], Arrival]) -> Arrival:
        self._begun = self._under_way_of_mine()
        arrival = make()
        self._begun.add(arrival)
        return arrival

    def _under_way_of_mine(self) -> set[Arrival]:
        return {arrival for arrival in self._begun if not arrival.verified and arrival.error is None}


@dataclass(slots=True)
class Source:
    """A remote as it runs: kept over a reload that does not change it."""

    config: RemoteConfig
    request_timeout: float
    upstream: Upstream
    index: CachedIndex
    timed: TimedIndex
    """The same, its pages with upload times wherever they are to be known."""
    arrivals: SourceArrivals

    async def close(self) -> None:
        await self.index.close()
        await self.upstream.close()
