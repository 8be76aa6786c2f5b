"""The composition root: how the nest of indexes is built from a configuration, and the one cell a reload swaps.

A request meets the layers in this order, outermost first:

1. the distribution's guard, before any question is asked (`handlers.access`);
2. its own filters, over all that it shows (`FilteredIndex`);
3. its local content, ahead of the remotes or in their place (`MergedIndex`, `LocalIndex`);
4. its remotes in their order: the first that knows the project answers (`OrderedIndex`);
5. each remote's filters: what its names do not admit it does not know, and the next may answer (`FilteredIndex`);
6. each remote's cache: fresh, revalidated or stale pages, stored or arriving files (`CachedIndex`, `RemoteFiles`);
7. the remote itself (`Upstream`).
"""

from __future__ import annotations

from pyproxy.site.building import build, replaced
from pyproxy.site.current import CurrentSite, Machinery, Site
from pyproxy.site.distribution import Distribution, Layers
from pyproxy.site.remotes import origin_of
from pyproxy.site.watching import watched_of

__all__ = [
    "CurrentSite",
    "Distribution",
    "Layers",
    "Machinery",
    "Site",
    "build",
    "origin_of",
    "replaced",
    "watched_of",
]
