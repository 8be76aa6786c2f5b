"""What a remote runs with, built from its configuration."""

from __future__ import annotations

from pyproxy.config import RemoteConfig
from pyproxy.freshness import Rules
from pyproxy.index.archives import Archives
from pyproxy.index.cached import CachedIndex
from pyproxy.index.companions import Companions
from pyproxy.index.documents import RemoteDocuments
from pyproxy.index.keeper import Keeper, Why
from pyproxy.index.lists import RemoteList
from pyproxy.index.protocol import Document, Names
from pyproxy.index.remote_details import RemoteDetails
from pyproxy.index.remote_files import RemoteFiles
from pyproxy.index.shelf import Held
from pyproxy.index.stored_companions import PAUSE, StoredCompanions
from pyproxy.index.upload_times import TimedIndex
from pyproxy.model import ProjectName
from pyproxy.simple_api import linker
from pyproxy.site.current import Machinery, Site
from pyproxy.site.sources import Source, SourceArrivals
from pyproxy.upstream import Kind, RemoteSettings, Upstream


def source_of(config: RemoteConfig, request_timeout: float, machinery: Machinery, old: Site | None) -> Source:
    if old is not None:
        before = old.sources.get(config.name)
        if before is not None and before.config == config and before.request_timeout == request_timeout:
            return before
    metrics, store = machinery.metrics, machinery.store
    name, joined, turns = config.name, metrics.coalesced.inc, machinery.fellows.turns
    upstream = Upstream(_settings(config, workers=machinery.fellows.count), observe=metrics)
    rules = Rules(config.ttl, config.negative_ttl, config.stale_if_error, offline=config.policy == "offline")
    origin = origin_of(config)

    def stale(why: Why) -> None:
        metrics.stale.labels(name, why).inc()

    pages: Keeper[ProjectName, Held] = Keeper(name, rules, stale_after=config.stale_after, joined=joined, stale=stale)

    def documents(kind: Kind) -> RemoteDocuments:
        keeper: Keeper[str, Document] = Keeper(name, rules, stale_after=config.stale_after, joined=joined, stale=stale)
        return RemoteDocuments(upstream, store.records, keeper, name=name, kind=kind, turns=turns)

    lists: Keeper[str, Names] = Keeper(
        name,
        rules,
        stale_after=config.stale_after,
        refresh_limit=10 * request_timeout,
        takes_long=True,
        joined=joined,
        stale=stale,
    )
    arrivals = SourceArrivals(machinery.arrivals)
    archives = Archives(
        upstream,
        store.cache,
        store.blobs,
        arrivals,
        name=name,
        url=config.url,
        keep=config.policy == "on_demand",
        offline=config.policy == "offline",
        retries=config.retries,
        executor=machinery.disk,
        shared=machinery.fellows.shared,
    )
    companions = Companions(
        upstream,
        store.records,
        archives,
        documents("provenance"),
        # Fellows wait for what is written.
        StoredCompanions(store.records, name=name, pause=0.0 if machinery.fellows.shared is not None else PAUSE),
        name=name,
        keep=config.policy == "on_demand",
        executor=machinery.disk,
        joined=joined,
        turns=turns,
        learned=machinery.learned,
    )
    index = CachedIndex(
        upstream,
        store.records,
        pages,
        RemoteFiles(archives, companions),
        names=RemoteList(
            upstream, store.records, lists, name=name, origin=origin, folder=machinery.lists_folder, turns=turns
        ),
        details=RemoteDetails(documents("json"), url=config.url, negative_ttl=config.negative_ttl),
        name=name,
        origin=origin,
        rules=rules,
        linker=linker(name, config.url, config.file_hosts),
        executor=machinery.work,
        dropped=metrics.dropped_links.labels(name).inc,
        fellows=machinery.fellows,
        changed=machinery.news.tell,
    )
    timed = TimedIndex(index, executor=machinery.work)
    return Source(config, request_timeout, upstream, index, timed, arrivals)


def origin_of(config: RemoteConfig) -> str:
    """What a stored page is valid for: another URL, or other hosts for files, make other pages."""
    return f"{config.url} {','.join(config.file_hosts) if config.file_hosts is not None else '*'}"


def _settings(config: RemoteConfig, *, workers: int) -> RemoteSettings:
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
        # What a remote is asked to bear is for all workers together.
        max_connections=max(1, config.max_connections // workers),
        retries=config.retries,
        missing_status=config.missing_status,
        file_hosts=config.file_hosts,
    )
