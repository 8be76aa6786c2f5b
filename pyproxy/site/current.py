"""The site in force, the one cell that a reload swaps, and what outlives every configuration."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pyproxy.arrival import Arrival
from pyproxy.arrivals import Arrivals
from pyproxy.auth import Guard, Passwords
from pyproxy.collisions import Collisions, Known
from pyproxy.config import GuardConfig
from pyproxy.errors import ContentWrong, StoreTrouble
from pyproxy.fellows import Fellows, alone
from pyproxy.list_renderings import ListRenderings
from pyproxy.metrics import Metrics
from pyproxy.model import ProjectName
from pyproxy.news import News
from pyproxy.renderings import Renderings
from pyproxy.site.distribution import Distribution
from pyproxy.site.moments import Moments
from pyproxy.site.sources import Source
from pyproxy.storage.repository import Repositories
from pyproxy.storage.store import Store
from pyproxy.storage.tallies import Tallies

log = logging.getLogger(__name__)

RETIRE_LIMIT = 600.0
"""Seconds after which what a reload replaced is closed even if something still uses it."""


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

    def cache_stamp(self) -> int:
        """Another number after every change of the cache, evictions included. Raises StoreTrouble."""
        return self.machinery.store.records.stamp()

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
        metrics.cache_bytes.set_function(lambda: known(lambda: store.cache.bytes))
        metrics.cache_files.set_function(lambda: known(lambda: store.cache.files))

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


def known(value: Callable[[], int]) -> float:
    """NaN where the index cannot be read: all other numbers are wanted then more than ever."""
    try:
        return value()
    except StoreTrouble:
        return math.nan
