"""The nest of indexes that a distribution asks: in which order the layers stand is said here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from pyproxy.config import DistributionConfig, FilterConfig, RemoteConfig
from pyproxy.filters import policy_of
from pyproxy.index.filtered import CAPACITY, FilteredIndex
from pyproxy.index.local import LocalIndex
from pyproxy.index.made_pages import MadePages
from pyproxy.index.merged import MergedIndex, PrivateIndex
from pyproxy.index.ordered import OrderedIndex
from pyproxy.index.protocol import Index
from pyproxy.index.snapshot import SnapshotIndex
from pyproxy.model import ProjectName
from pyproxy.selection import Sieve
from pyproxy.site.current import Machinery
from pyproxy.site.distribution import Layers, RemoteLayer
from pyproxy.site.moments import MOMENTS
from pyproxy.site.sources import Source
from pyproxy.site.watching import private_of

EVERYTHING = FilterConfig()
"""Filters that hide nothing."""


def layers_of(
    config: DistributionConfig,
    remotes: Mapping[str, RemoteConfig],
    sources: Mapping[str, Source],
    machinery: Machinery,
    made: MadePages,
    *,
    instant: float | None = None,
) -> Layers:
    """All that a distribution has, less what its filters hide. `instant`: all of it as it stood then."""
    filtered = partial(_filtered, distribution=config.name, machinery=machinery, instant=instant)
    behind: list[RemoteLayer] = []
    for name in config.remotes:
        filters = remotes[name].filters
        timed = filters.needs_upload_times or config.filters.needs_upload_times
        remote = _remote(sources[name], made, instant, timed=timed)
        behind.append(RemoteLayer(name, remote, filtered(remote, filters, f"remote {name}")))
    local = None if config.repository is None else _local(config, config.repository, machinery, instant)
    private = private_of(config.private)
    whole = _merged(config, behind, local, private=private, machinery=machinery, made=made, now=instant is None)
    own = filtered(whole, config.filters, f"distribution {config.name}")
    return Layers(tuple(behind), local, private, own or whole, own)


def _filtered(
    inner: Index, filters: FilterConfig, place: str, *, distribution: str, machinery: Machinery, instant: float | None
) -> FilteredIndex | None:
    """What the filters at this place of the configuration leave of an index, for one distribution; None: all of it.

    Ages count from the `instant`, until that has come.
    """
    if filters == EVERYTHING:
        return None
    counter = machinery.metrics.hidden_files

    def hidden(key: str, count: int) -> None:
        counter.labels(distribution, key).inc(count)

    return FilteredIndex(
        inner,
        policy_of(filters),
        place=place,
        executor=machinery.work,
        hidden=hidden,
        clock=time.time if instant is None else lambda: min(instant, time.time()),
        capacity=CAPACITY if instant is None else CAPACITY // MOMENTS,
    )


def _local(config: DistributionConfig, repository: str, machinery: Machinery, instant: float | None) -> LocalIndex:
    return LocalIndex(
        machinery.repositories,
        repository=repository,
        version=config.repository_version,
        instant=instant,
        lists=machinery.lists_folder,
        executor=machinery.work,
    )


def _merged(
    config: DistributionConfig,
    layers: list[RemoteLayer],
    local: LocalIndex | None,
    *,
    private: Callable[[ProjectName], bool],
    machinery: Machinery,
    made: MadePages,
    now: bool,
) -> Index:
    """Local content ahead of the remotes, where a distribution has both."""
    remotes = [(layer.name, layer.filtered or layer.index) for layer in layers]
    remote: Index = remotes[0][1] if len(remotes) == 1 else OrderedIndex(remotes)
    if config.private:
        remote = PrivateIndex(remote, private, unlisted=Sieve(None, config.private))
    if local is None:
        return remote
    if not remotes:
        return local
    return MergedIndex(
        local,
        remote,
        merge=config.merge,
        private=private,
        met=partial(machinery.collisions.met, config.name) if now else _unsaid,
        parted=partial(machinery.collisions.parted, config.name) if now else _unsaid,
        made=made,
    )


def _remote(source: Source, made: MadePages, instant: float | None, *, timed: bool) -> Index:
    if instant is not None:
        return SnapshotIndex(source.timed, instant, made)
    return source.timed if timed else source.index


def _unsaid(_: ProjectName) -> None:
    """A collision of the past is no news."""
