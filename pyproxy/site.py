"""The composition root: how the nest of indexes is built from a configuration, and the one cell a reload swaps.

A request meets the layers in this order, outermost first:

1. the distribution's remotes in their order: the first that knows the project answers (`OrderedIndex`);
2. each remote's cache: fresh, revalidated or stale pages, stored or arriving files (`CachedIndex`, `RemoteFiles`);
3. the remote itself (`Upstream`).

Filters, local content and guards wrap these where a distribution has them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from pyproxy.arrival import Arrival, Arrivals
from pyproxy.config import Config, DistributionConfig, RemoteConfig
from pyproxy.errors import ContentWrong
from pyproxy.freshness import Rules
from pyproxy.index.archives import Archives
from pyproxy.index.cached import CachedIndex
from pyproxy.index.companions import Companions
from pyproxy.index.documents import RemoteDocuments
from pyproxy.index.keeper import Keeper, Why
from pyproxy.index.lists import RemoteList
from pyproxy.index.ordered import OrderedIndex
from pyproxy.index.protocol import Document, Index, Names
from pyproxy.index.remote_files import RemoteFiles
from pyproxy.index.shelf import Held
from pyproxy.list_renderings import ListRenderings
from pyproxy.metrics import Metrics
from pyproxy.model import ProjectName
from pyproxy.renderings import Renderings
from pyproxy.simple_api import linker
from pyproxy.storage.store import Store
from pyproxy.upstream import RemoteSettings, Upstream

log = logging.getLogger(__name__)

RETIRE_LIMIT = 600.0
"""Seconds after which what a reload replaced is closed even if something still uses it."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A named index at its base path."""

    name: str
    base_path: str
    index: Index
    remotes: tuple[str, ...]
    labels: Mapping[str, str]
    hidden: bool
    default: bool


@dataclass(slots=True)
class Source:
    """A remote as it runs: kept over a reload that does not change it."""

    config: RemoteConfig
    request_timeout: float
    upstream: Upstream
    index: CachedIndex

    async def close(self) -> None:
        await self.index.close()
        await self.upstream.close()


@dataclass(slots=True)
class Site:
    """Everything that one configuration serves. Replaced as a whole by a reload; never changed."""

    distributions: Mapping[str, Distribution]
    """By base path."""
    default: Distribution | None
    public_url: str | None
    sources: Mapping[str, Source]
    renderings: Renderings
    lists: ListRenderings
    machinery: Machinery
    users: int = 0
    """Requests that are being answered from it. Written by the app."""
    depth: int = field(init=False)
    """Segments of the longest base path."""

    def __post_init__(self) -> None:
        self.depth = max((base.count("/") + 1 for base in self.distributions), default=0)

    def exposition(self) -> bytes:
        """What Prometheus scrapes."""
        return self.machinery.exposition()

    def trouble(self) -> str | None:
        """Why no request can be answered well now, or None."""
        return self.machinery.store.trouble


class CurrentSite:
    """The one cell that a reload swaps. A request reads it once."""

    def __init__(self, site: Site) -> None:
        self.site = site


class Machinery:
    """What outlives a configuration: the store, the downloads under way, the metrics, the threads."""

    def __init__(self, store: Store, metrics: Metrics, *, work: Executor, disk: Executor) -> None:
        self.store = store
        self.metrics = metrics
        self.work = work
        """For parsing, rendering and compressing."""
        self.disk = disk
        """For writing and hashing downloads."""
        self.arrivals = Arrivals(joined=metrics.coalesced.inc, failed=self._arrival_failed)
        self._retiring: set[asyncio.Task[None]] = set()
        self._replaced: list[Source] = []
        """What a reload replaced and nothing has closed yet."""
        store.cache.on_evicted = metrics.evicted_bytes.inc
        metrics.cache_bytes.set_function(lambda: store.cache.bytes)
        metrics.cache_files.set_function(lambda: store.cache.files)

    @property
    def lists_folder(self) -> Path:
        return self.store.lists

    def exposition(self) -> bytes:
        return self.metrics.exposition()

    def retire(self, old: Site, gone: list[Source]) -> None:
        """Closes the sources that a reload replaced, once nothing uses them."""
        task = asyncio.create_task(self._retire(old, gone))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        self._replaced += gone

    async def _retire(self, old: Site, gone: list[Source]) -> None:
        names = {source.config.name for source in gone}
        try:
            async with asyncio.timeout(RETIRE_LIMIT):
                while old.users or self.arrivals.busy_with(names):  # noqa: ASYNC110 - nobody waits for this to end
                    await asyncio.sleep(1.0)
        except TimeoutError:
            log.warning("remotes %s are closed though something still uses them", ", ".join(sorted(names)))
        for source in gone:
            self._replaced = [other for other in self._replaced if other is not source]
            await source.close()

    async def close(self, site: Site) -> None:
        """Ends the downloads and closes every source; the store stays the caller's."""
        await self.arrivals.close()
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for source in (*self._replaced, *site.sources.values()):
            await source.close()
        await site.lists.close()
        await site.renderings.close()

    def _arrival_failed(self, arrival: Arrival) -> None:
        if isinstance(arrival.error, ContentWrong):
            self.metrics.wrong_content.labels(arrival.remote).inc()


def build(config: Config, machinery: Machinery, old: Site | None = None) -> Site:
    """The site that this configuration describes. Sources that `old` has alike are taken over."""
    sources = {
        name: _source(remote, config.server.request_timeout, machinery, old) for name, remote in config.remotes.items()
    }
    distributions = {d.base_path: _distribution(d, sources) for d in config.distributions.values()}
    return Site(
        distributions=distributions,
        default=next((d for d in distributions.values() if d.default), None),
        public_url=config.server.public_url,
        sources=sources,
        renderings=Renderings(machinery.work),
        lists=old.lists if old is not None else ListRenderings(machinery.lists_folder),
        machinery=machinery,
    )


def replaced(old: Site, new: Site) -> list[Source]:
    """The sources of the old site that the new one does not use."""
    kept = {id(source) for source in new.sources.values()}
    return [source for source in old.sources.values() if id(source) not in kept]


def _distribution(config: DistributionConfig, sources: Mapping[str, Source]) -> Distribution:
    indexes = [(name, sources[name].index) for name in config.remotes]
    index: Index = indexes[0][1] if len(indexes) == 1 else OrderedIndex(indexes)
    return Distribution(
        config.name,
        config.base_path,
        index,
        config.remotes,
        config.labels,
        hidden=config.hidden,
        default=config.default,
    )


def _source(config: RemoteConfig, request_timeout: float, machinery: Machinery, old: Site | None) -> Source:
    if old is not None:
        before = old.sources.get(config.name)
        if before is not None and before.config == config and before.request_timeout == request_timeout:
            return before
    metrics, store = machinery.metrics, machinery.store
    name, joined = config.name, metrics.coalesced.inc
    upstream = Upstream(_settings(config), observe=metrics)
    rules = Rules(config.ttl, config.negative_ttl, config.stale_if_error, offline=config.policy == "offline")
    origin = f"{config.url} {','.join(config.file_hosts) if config.file_hosts is not None else '*'}"

    def stale(why: Why) -> None:
        metrics.stale.labels(name, why).inc()

    pages: Keeper[ProjectName, Held] = Keeper(
        name, rules, stale_after=config.stale_after, refresh_limit=request_timeout, joined=joined, stale=stale
    )
    documents: Keeper[str, Document] = Keeper(
        name, rules, stale_after=config.stale_after, refresh_limit=request_timeout, joined=joined, stale=stale
    )
    lists: Keeper[str, Names] = Keeper(
        name,
        rules,
        stale_after=config.stale_after,
        refresh_limit=10 * request_timeout,
        takes_long=True,
        joined=joined,
        stale=stale,
    )
    archives = Archives(
        upstream,
        store.cache,
        store.blobs,
        machinery.arrivals,
        name=name,
        url=config.url,
        keep=config.policy == "on_demand",
        offline=config.policy == "offline",
        retries=config.retries,
        executor=machinery.disk,
    )
    companions = Companions(
        upstream,
        store.records,
        archives,
        RemoteDocuments(upstream, store.records, documents, name=name, kind="provenance"),
        name=name,
        executor=machinery.disk,
        joined=joined,
    )
    index = CachedIndex(
        upstream,
        store.records,
        pages,
        RemoteFiles(archives, companions),
        RemoteList(upstream, store.records, lists, name=name, origin=origin, folder=machinery.lists_folder),
        name=name,
        origin=origin,
        rules=rules,
        linker=linker(name, config.url, config.file_hosts),
        executor=machinery.work,
        dropped=metrics.dropped_links.labels(name).inc,
    )
    return Source(config, request_timeout, upstream, index)


def _settings(config: RemoteConfig) -> RemoteSettings:
    return RemoteSettings(
        name=config.name,
        url=config.url,
        username=config.username.reveal() if config.username is not None else None,
        password=config.password.reveal() if config.password is not None else None,
        headers={name: value.reveal() for name, value in config.headers.items()},
        ca=config.tls.ca,
        cert=config.tls.cert,
        key=config.tls.key,
        verify=config.tls.verify,
        proxy=config.proxy.reveal() if config.proxy is not None else None,
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        max_connections=config.max_connections,
        retries=config.retries,
        missing_status=config.missing_status,
        file_hosts=config.file_hosts,
    )
