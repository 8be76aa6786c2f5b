"""Every Prometheus name, declared once. No label ever takes a project's name."""

from __future__ import annotations

import os
import platform
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from pyproxy import __version__
from pyproxy.counted import Counts, Family, Mode, pack, united, unpack

Result: TypeAlias = Literal["hit", "miss", "stale", "revalidated", "error", "denied"]
RequestKind: TypeAlias = Literal["simple", "file", "metadata", "upload", "json", "other"]

_COLLISIONS: Final = "pyproxy_name_collisions"

MODES: Final[dict[str, Mode]] = {
    # What every worker finds in the one store, or knows of the one program.
    "pyproxy_cache_bytes": "first",
    "pyproxy_cache_files": "first",
    "pyproxy_build_info": "first",
    "python_info": "first",
    "process_max_fds": "first",
    "process_start_time_seconds": "least",
}
"""How gauges of several workers become one; those that are not named are added up."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Seconds(Histogram):
    """A histogram of `_SECONDS` that can be told of many times at once."""

    def observe_all(self, counts: Sequence[int], total: float) -> None:
        """So many observations in each bucket, the last of which has no bound."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            bucket.inc(count)


class Tally:
    """Requests with the same labels, of clients or to a remote: added up here, and told to Prometheus when it asks.

    Its own counters, with their labels and locks, take 8 µs a request: as much as one that is answered by heart.
    """

    __slots__ = ("_counts", "_requests", "_response_bytes", "_seconds", "_told", "nbytes", "requests", "seconds")

    def __init__(self, requests: Counter, seconds: _Seconds, response_bytes: Counter | None = None) -> None:
        self._requests = requests
        self._seconds = seconds
        self._response_bytes = response_bytes
        # These only grow, and only on the event loop; what was told of them is kept beside.
        self.requests = 0
        self.nbytes = 0
        self.seconds = 0.0
        self._counts = [0] * (len(_SECONDS) + 1)  # requests by how long they took
        self._told = (0, 0, 0.0, tuple(self._counts))

    def add(self, nbytes: int, seconds: float) -> None:
        """One more request."""
        self.requests += 1
        self.nbytes += nbytes
        self.seconds += seconds
        self._counts[bisect_left(_SECONDS, seconds)] += 1

    def add_all(self, repeats: Sequence[tuple[str, float]], nbytes: int) -> None:
        """Several requests, each with its client and its seconds; bytes of all of them."""
        self.requests += len(repeats)
        self.nbytes += nbytes
        times = [seconds for _, seconds in repeats]
        self.seconds += sum(times)
        if max(times, default=0.0) <= _SECONDS[0]:  # as nearly all are
            self._counts[0] += len(times)
            return
        for seconds in times:
            self._counts[bisect_left(_SECONDS, seconds)] += 1

    def settle(self) -> None:
        """Tells Prometheus what was added since the last time. For one thread at a time."""
        now = (self.requests, self.nbytes, self.seconds, tuple(self._counts))
        before, self._told = self._told, now
        self._requests.inc(now[0] - before[0])
        if self._response_bytes is not None:
            self._response_bytes.inc(now[1] - before[1])
        self._seconds.observe_all(
            [count - told for count, told in zip(now[3], before[3], strict=True)], now[2] - before[2]
        )


class _Tallies:
    """A collector of nothing: the first that a registry asks, so that all others have what was added up."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, RequestKind, Result], Tally] = {}
        self.asked: dict[tuple[str, str, str], Tally] = {}
        """Of requests to remotes."""
        self._lock = threading.Lock()  # two scrapes at once

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            for tally in [*self.kept.values(), *self.asked.values()]:
                tally.settle()
        yield from ()


class Metrics:
    """The counters of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._tallies = _Tallies()
        r.register(self._tallies)
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        self.requests = Counter(
            "pyproxy_requests_total",
            "Requests answered, by what they asked for and where the answer came from.",
            ["distribution", "kind", "result"],
            registry=r,
        )
        self.request_seconds = _Seconds(
            "pyproxy_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["kind"],
            buckets=_SECONDS,
            registry=r,
        )
        self.response_bytes = Counter(
            "pyproxy_response_bytes_total", "Bytes of bodies sent to clients.", ["kind"], registry=r
        )
        self.upstream_requests = Counter(
            "pyproxy_upstream_requests_total",
            "Requests sent to remotes, by the status they answered or the way they failed.",
            ["remote", "kind", "status"],
            registry=r,
        )
        self.upstream_seconds = _Seconds(
            "pyproxy_upstream_seconds",
            "Time until a remote's answer was there (for files: its head).",
            ["remote", "kind"],
            buckets=_SECONDS,
            registry=r,
        )
        self.cache_bytes = Gauge("pyproxy_cache_bytes", "Bytes of cached files of remotes.", registry=r)
        self.cache_files = Gauge("pyproxy_cache_files", "Number of cached files of remotes.", registry=r)
        self.evicted_bytes = Counter(
            "pyproxy_evicted_bytes_total", "Bytes of cached files given up to make room.", registry=r
        )
        self.coalesced = Counter(
            "pyproxy_coalesced_requests_total", "Requests that joined a fetch already under way.", registry=r
        )
        self.stale = Counter(
            "pyproxy_stale_answers_total",
            "Answers older than their remote's ttl, by why: slow, failing or offline.",
            ["remote", "why"],
            registry=r,
        )
        self.dropped_links = Counter(
            "pyproxy_dropped_links_total",
            "Links of remotes' pages left out: hostile, unusable or on a host not allowed.",
            ["remote"],
            registry=r,
        )
        self.wrong_content = Counter(
            "pyproxy_wrong_content_total",
            "Files whose bytes were not what their page promised; never kept.",
            ["remote"],
            registry=r,
        )
        self.collisions = Gauge(
            "pyproxy_name_collisions",
            "Projects found both in the repository of a distribution and on one of its remotes.",
            ["distribution"],
            registry=r,
        )
        self.hidden_files = Counter(
            "pyproxy_hidden_files_total",
            "Files that a filter leaves out of a page, counted each time that a page is judged.",
            ["distribution", "filter"],
            registry=r,
        )
        self.reload_failures = Counter(
            "pyproxy_config_reload_failures_total", "Reloads refused because the configuration was wrong.", registry=r
        )
        self.open_connections = Gauge("pyproxy_open_connections", "Connections of clients open now.", registry=r)
        self.hot_path_bytes = Gauge(
            "pyproxy_hot_path_bytes", "Bytes of answers kept in memory for requests that are repeated.", registry=r
        )
        self.build_info = Gauge(
            "pyproxy_build_info", "1, labelled with the versions.", ["version", "python"], registry=r
        )
        self.build_info.labels(__version__, platform.python_version()).set(1)

    def tally(self, distribution: str, kind: RequestKind, result: Result) -> Tally:
        """Where requests with these labels are counted."""
        key = (distribution, kind, result)
        found = self._tallies.kept.get(key)
        if found is None:
            found = self._tallies.kept[key] = Tally(
                self.requests.labels(*key), self.request_seconds.labels(kind), self.response_bytes.labels(kind)
            )
        return found

    def asked(self, remote: str, kind: str, status: str, seconds: float) -> None:
        """Counts one request to a remote (the observer of `Upstream`)."""
        key = (remote, kind, status)
        found = self._tallies.asked.get(key)
        if found is None:
            found = Tally(self.upstream_requests.labels(*key), self.upstream_seconds.labels(remote, kind))
            self._tallies.asked[key] = found
        found.add(0, seconds)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def counts(self, collisions: Callable[[], Mapping[str, Sequence[str]]]) -> bytes:
        """What this process has counted, for another to add up. `collisions` gives the names, by distribution."""
        families = _families(self.registry)
        return pack(Counts(families, {name: list(found) for name, found in collisions().items()}))

    def exposition_of(self, counted: Sequence[bytes]) -> bytes:
        """The same text for several workers and their supervisor; the first counts is that of this process."""
        supervisor = CollectorRegistry()
        ProcessCollector(registry=supervisor, pid=os.getppid)
        found = united([*map(unpack, counted), Counts(_families(supervisor))], MODES)
        for family in found.families:
            if family.name == _COLLISIONS:
                # Each worker has seen other names, and some the same.
                family.samples = [
                    (name, labels, len(found.names.get(dict(labels)["distribution"], ())))
                    for name, labels, _ in family.samples
                ]
        registry = CollectorRegistry()
        registry.register(_Given(found.families))
        return generate_latest(registry)


class _Given(Collector):
    """Families as they are given."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def describe(self) -> Iterator[Metric]:
        return iter(())  # nothing can collide in a registry of its own, so nobody need look

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.type)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric


def _families(registry: CollectorRegistry) -> list[Family]:
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [(sample.name, tuple(sample.labels.items()), sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]
