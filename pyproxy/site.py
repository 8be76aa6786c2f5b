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

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from pyproxy.arrival import Arrival
from pyproxy.arrivals import Arrivals
from pyproxy.auth import Guard, Passwords, Rights
from pyproxy.collisions import Collisions, Known, Watched
from pyproxy.config import Config, DistributionConfig, FilterConfig, GuardConfig, Merge, RemoteConfig
from pyproxy.errors import ContentWrong, DistributionUnknown, StoreTrouble
from pyproxy.fellows import Fellows, alone
from pyproxy.filters import policy_of
from pyproxy.freshness import Rules
from pyproxy.index.archives import Archives
from pyproxy.index.cached import CachedIndex
from pyproxy.index.companions import Companions
from pyproxy.index.documents import RemoteDocuments
from pyproxy.index.filtered import CAPACITY, FilteredIndex
from pyproxy.index.keeper import Keeper, Why
from pyproxy.index.lists import RemoteList
from pyproxy.index.local import LocalIndex
from pyproxy.index.made_pages import MadePages
from pyproxy.index.merged import MergedIndex, PrivateIndex
from pyproxy.index.ordered import OrderedIndex
from pyproxy.index.protocol import Document, Index, Names
from pyproxy.index.remote_details import RemoteDetails
from pyproxy.index.remote_files import RemoteFiles
from pyproxy.index.shelf import Held
from pyproxy.index.snapshot import SnapshotIndex
from pyproxy.index.upload_times import TimedIndex
from pyproxy.instants import as_instant
from pyproxy.list_renderings import ListRenderings
from pyproxy.metrics import Metrics
from pyproxy.model import ProjectName, printable
from pyproxy.news import News
from pyproxy.renderings import Renderings
from pyproxy.simple_api import linker
from pyproxy.storage.repository import Repositories
from pyproxy.storage.store import Store
from pyproxy.storage.tallies import Tallies
from pyproxy.upstream import Kind, RemoteSettings, Upstream

log = logging.getLogger(__name__)

MOMENTS = 64
"""Distributions as of a moment that are kept."""

_ALL = FilterConfig()
"""Filters that hide nothing."""

RETIRE_LIMIT = 600.0
"""Seconds after which what a reload replaced is closed even if something still uses it."""


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A remote as one distribution has it: all of it, and that less what its filters hide, where it has any."""

    name: str
    index: Index
    filtered: FilteredIndex | None


@dataclass(frozen=True, slots=True)
class Layers:
    """What the index of a distribution is made of, for who explains it. `filtered` is the outermost."""

    remotes: tuple[RemoteLayer, ...]
    local: LocalIndex | None
    private: Callable[[ProjectName], bool]
    index: Index
    filtered: FilteredIndex | None

    async def close(self) -> None:
        for filtered in (self.filtered, *(remote.filtered for remote in self.remotes)):
            if filtered is not None:
                await filtered.close()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A named index at its base path."""

    name: str
    base_path: str
    layers: Layers
    remotes: tuple[str, ...]
    labels: Mapping[str, str]
    hidden: bool
    default: bool
    repository: str | None = None
    pinned: int | None = None
    """The version of the repository that is shown; None: the latest."""
    allow_uploads: bool = False
    merge: Merge = "ahead"
    guard: Guard | None = None
    guard_name: str | None = None

    @property
    def index(self) -> Index:
        """What answers its questions."""
        return self.layers.index

    @property
    def always_asks(self) -> bool:
        """An upload must be seen at once, so clients have to ask each time."""
        return self.repository is not None and self.pinned is None

    @property
    def is_guarded(self) -> bool:
        """Whether not everybody may read it."""
        return self.guard is not None and self.guard.rights.read is not None


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


@dataclass(slots=True)
class Site:
    """Everything that one configuration serves. Replaced as a whole by a reload; never changed."""

    distributions: Mapping[str, Distribution]
    """By base path."""
    default: Distribution | None
    moments: Moments
    public_url: str | None
    sources: Mapping[str, Source]
    renderings: Renderings
    lists: ListRenderings
    machinery: Machinery
    guards: Mapping[str, tuple[GuardConfig, Guard]] = field(default_factory=dict)
    where: Callable[[str], str] = str
    """FILE:LINE of a key of the configuration."""
    max_upload_size: int = 1 << 30
    users: int = 0
    """Requests that are being answered from it. Written by the app."""
    depth: int = field(init=False)
    """Segments of the longest base path."""

    def __post_init__(self) -> None:
        self.depth = max((base.count("/") + 1 for base in self.distributions), default=0)

    def as_of(self, distribution: Distribution, instant: str) -> Distribution:
        """The distribution as it stood at a date or RFC 3339 instant. Raises DistributionUnknown."""
        return self.moments.of(distribution, instant)

    def heard_of_failure(self, guard: str, network: str, user: bytes) -> None:
        """Another worker has seen a login fail."""
        if (found := self.guards.get(guard)) is not None:
            found[1].heard(network, user)

    async def exposition(self) -> bytes:
        """What Prometheus scrapes."""
        return await self.machinery.exposition()

    def local_stamp(self) -> int:
        """Another number after every change of local content. Raises StoreTrouble."""
        return self.machinery.repositories.stamp()

    def last_updated(self, distribution: Distribution) -> str | None:
        """When the local content that is shown was made (RFC 3339, UTC); None where there is none."""
        if distribution.repository is None:
            return None
        repositories, repository = self.machinery.repositories, distribution.repository
        number = repositories.latest(repository) if distribution.pinned is None else distribution.pinned
        made = repositories.version(repository, number)
        return None if made is None else datetime.fromtimestamp(made.created_at, UTC).isoformat()

    def trouble(self) -> str | None:
        """Why no request can be answered well now, or None."""
        return self.machinery.store.trouble or self.machinery.repositories.trouble


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


class CurrentSite:
    """The one cell that a reload swaps. A request reads it once."""

    def __init__(self, site: Site) -> None:
        self.site = site


class Machinery:
    """What outlives a configuration: the store, the downloads under way, the metrics, the threads."""

    def __init__(
        self,
        store: Store,
        repositories: Repositories,
        metrics: Metrics,
        *,
        work: Executor,
        disk: Executor,
        fellows: Fellows | None = None,
    ) -> None:
        self.store = store
        self.fellows = fellows or alone()
        self.gather: Callable[[bytes], Awaitable[Sequence[bytes]]] | None = None
        """Given what this worker has counted, what the others have; None where there are none. Set by their owner."""
        self.login_failed: Callable[[str, str, bytes], None] = lambda _guard, _network, _user: None
        """Tells other workers of a failure that a guard has counted. Set by their owner."""
        self.repositories = repositories
        self.passwords = Passwords(work)
        self.tokens: frozenset[str] = frozenset()
        """The SHA-256 of every guard's tokens. Written by `build`."""
        self.collisions = Collisions(repositories, Known(store.records, store.lists))
        self.news = News()
        self.metrics = metrics
        self.tallies = Tallies(store.layout.tallies)
        """The same counts of answers as the metrics', kept over restarts for `pyproxy status`."""
        self.work = work
        """For parsing, rendering and compressing."""
        self.disk = disk
        """For writing and hashing downloads."""
        self.arrivals = Arrivals(joined=metrics.coalesced.inc, failed=self._arrival_failed)
        self.search = ThreadPoolExecutor(1, "search")
        """For searches, which take long: one at once, and those of clients that have gone are never begun."""
        self.examinations = ThreadPoolExecutor(2, "examine")
        """For uploaded archives: one may take two minutes of a core, and no download waits for that."""
        self._past: list[Site] = []
        """What reloads replaced while requests were being answered from it."""
        self._retiring: set[asyncio.Task[None]] = set()
        self._replaced: list[Source] = []
        """What a reload replaced and nothing has closed yet."""
        store.cache.on_evicted = metrics.evicted_bytes.inc
        if (shared := self.fellows.shared) is not None:
            shared.turns.joined = metrics.coalesced.inc
            store.cache.share(shared.shares.pledge)
        metrics.cache_bytes.set_function(lambda: _known(lambda: store.cache.bytes))
        metrics.cache_files.set_function(lambda: _known(lambda: store.cache.files))

    @property
    def lists_folder(self) -> Path:
        return self.store.lists

    async def exposition(self) -> bytes:
        """In a thread: with fifty distributions it takes 80 ms. With several workers, of all of them."""
        if self.gather is None:
            return await asyncio.to_thread(self.metrics.exposition)
        own = await self.counts()
        others = await self.gather(own)
        return await asyncio.to_thread(self.metrics.exposition_of, [own, *others])

    async def counts(self) -> bytes:
        """What this process has counted."""
        return await asyncio.to_thread(self.metrics.counts, self.collisions.names)

    def learned(self, project: ProjectName) -> None:
        """More is known of a project's wheels than its page says: here, and at once in the other workers."""
        self.news.tell(project)
        self.fellows.changes.note()

    def retire(self, old: Site, gone: list[Source]) -> None:
        """Closes the sources that a reload replaced, once nothing uses them. To be told of every reload."""
        self._past.append(old)
        for source in gone:
            task = asyncio.create_task(self._retire(source))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._replaced += gone

    async def _retire(self, source: Source) -> None:
        try:
            async with asyncio.timeout(RETIRE_LIMIT):
                while self._in_use(source):  # noqa: ASYNC110 - nobody waits for this to end
                    await asyncio.sleep(1.0)
        except TimeoutError:
            log.warning("remote %s, as it was, is closed though something still uses it", source.config.name)
        self._replaced = [other for other in self._replaced if other is not source]
        await source.close()

    def _in_use(self, source: Source) -> bool:
        """A request may have begun several reloads ago: every site that had this very source counts."""
        self._past = [site for site in self._past if site.users]
        return source.arrivals.busy or any(source is used for site in self._past for used in site.sources.values())

    async def close(self, site: Site) -> None:
        """Ends the downloads and closes every source; the store stays the caller's."""
        await self.arrivals.close()
        self.search.shutdown(wait=False, cancel_futures=True)
        self.examinations.shutdown(wait=False, cancel_futures=True)
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for distribution in site.distributions.values():
            await distribution.layers.close()
        for source in (*self._replaced, *site.sources.values()):
            await source.close()
        await site.lists.close()
        await site.renderings.close()
        self.tallies.close()

    def is_token(self, digest: str) -> bool:
        """Whether some guard has a token with this SHA-256."""
        return digest in self.tokens

    def _arrival_failed(self, arrival: Arrival) -> None:
        if isinstance(arrival.error, ContentWrong) and not arrival.followed:
            self.metrics.wrong_content.labels(arrival.remote).inc()


def _counted(collisions: Collisions, distribution: str) -> float:
    return _known(lambda: collisions.count(distribution))


def _known(value: Callable[[], int]) -> float:
    """NaN where the index cannot be read: all other numbers are wanted then more than ever."""
    try:
        return value()
    except StoreTrouble:
        return math.nan


def build(config: Config, machinery: Machinery, old: Site | None = None) -> Site:
    """The site that this configuration describes. Sources and guards that `old` has alike are taken over."""
    # Filters are a distribution's affair: a remote runs on, with what it holds, where they alone change.
    unfiltered = {name: replace(remote, filters=_ALL) for name, remote in config.remotes.items()}
    sources = {
        name: _source(remote, config.server.request_timeout, machinery, old) for name, remote in unfiltered.items()
    }
    machinery.tokens = frozenset(digest for guard in config.guards.values() for digest in guard.tokens.values())
    guards = {name: (guard, _guard(guard, machinery, old)) for name, guard in config.guards.items()}
    distributions = {
        d.base_path: _distribution(d, _layers(d, config.remotes, sources, machinery, MadePages()), guards)
        for d in config.distributions.values()
    }
    machinery.collisions.watch(watched_of(config))
    machinery.metrics.collisions.clear()
    for name in config.distributions:
        machinery.metrics.collisions.labels(name).set_function(partial(_counted, machinery.collisions, name))
    return Site(
        distributions=distributions,
        default=next((d for d in distributions.values() if d.default), None),
        moments=Moments(partial(_as_of, config, sources, machinery, MadePages())),
        public_url=config.server.public_url,
        sources=sources,
        renderings=Renderings(machinery.work),
        lists=old.lists if old is not None else ListRenderings(machinery.lists_folder, machinery.fellows.turns),
        machinery=machinery,
        guards=guards,
        where=config.where,
        max_upload_size=config.server.max_upload_size,
    )


def replaced(old: Site, new: Site) -> list[Source]:
    """The sources of the old site that the new one does not use."""
    kept = {id(source) for source in new.sources.values()}
    return [source for source in old.sources.values() if id(source) not in kept]


def _distribution(
    config: DistributionConfig, layers: Layers, guards: Mapping[str, tuple[GuardConfig, Guard]]
) -> Distribution:
    guard = guards[config.content_guard][1] if config.content_guard is not None else None
    return Distribution(
        config.name,
        config.base_path,
        layers,
        config.remotes,
        config.labels,
        hidden=config.hidden,
        default=config.default,
        repository=config.repository,
        pinned=config.repository_version,
        allow_uploads=config.allow_uploads,
        merge=config.merge,
        guard=guard,
        guard_name=config.content_guard,
    )


def _as_of(  # noqa: PLR0917 - the first four are bound where the site is built
    config: Config,
    sources: Mapping[str, Source],
    machinery: Machinery,
    made: MadePages,
    now: Distribution,
    instant: float,
    base_path: str,
) -> Distribution:
    """The distribution at that instant: read-only, and what its repository held then. Raises VersionUnknown."""
    pinned = now.pinned
    if now.repository is not None and instant < time.time():
        then = machinery.repositories.at(now.repository, instant)
        pinned = then if pinned is None else min(then, pinned)
    layers = _layers(config.distributions[now.name], config.remotes, sources, machinery, made, instant=instant)
    return replace(now, base_path=base_path, layers=layers, pinned=pinned, allow_uploads=False, default=False)


def _layers(
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
    private = _private(config.private)
    whole = _merged(config, behind, local, private=private, machinery=machinery, made=made, now=instant is None)
    own = filtered(whole, config.filters, f"distribution {config.name}")
    return Layers(tuple(behind), local, private, own or whole, own)


def _filtered(
    inner: Index, filters: FilterConfig, place: str, *, distribution: str, machinery: Machinery, instant: float | None
) -> FilteredIndex | None:
    """What the filters at this place of the configuration leave of an index, for one distribution; None: all of it.

    Ages count from the `instant`, until that has come.
    """
    if filters == _ALL:
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
    if local is None:
        return PrivateIndex(remote, private) if config.private else remote
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


def watched_of(config: Config) -> Iterator[Watched]:
    """The distributions in which a name may be both local and a remote's."""
    for distribution in config.distributions.values():
        if distribution.repository is not None and distribution.remotes and distribution.merge == "ahead":
            yield Watched(
                name=distribution.name,
                repository=distribution.repository,
                version=distribution.repository_version,
                remotes={name: origin_of(config.remotes[name]) for name in distribution.remotes},
                private=_private(distribution.private),
                admits=_admits(config, distribution),
            )


def _admits(config: Config, distribution: DistributionConfig) -> Callable[[str, ProjectName], bool]:
    """Whether the filters of a remote, and those of the distribution, let a project of this name in."""
    own = policy_of(distribution.filters)
    policies = {name: policy_of(config.remotes[name].filters) for name in distribution.remotes}
    return lambda remote, project: policies[remote].refuses(project) is None and own.refuses(project) is None


def _private(globs: tuple[str, ...]) -> Callable[[ProjectName], bool]:
    return lambda project: any(fnmatchcase(project, glob) for glob in globs)


def _guard(config: GuardConfig, machinery: Machinery, old: Site | None) -> Guard:
    before = old.guards.get(config.name) if old is not None else None
    if before is not None and before[0] == config:
        return before[1]
    rights = Rights(config.read, config.upload)
    return Guard(
        rights,
        tokens=config.tokens,
        users=config.users,
        passwords=machinery.passwords,
        elsewhere=machinery.is_token,
        key=machinery.fellows.key,
        told=lambda network, user: machinery.login_failed(config.name, network, user),
    )


def _source(config: RemoteConfig, request_timeout: float, machinery: Machinery, old: Site | None) -> Source:
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
        name=name,
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
