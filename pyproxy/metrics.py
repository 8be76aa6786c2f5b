"""Every Prometheus name, declared once. No label ever takes a project's name."""

from __future__ import annotations

import platform
from typing import Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from pyproxy import __version__

Result: TypeAlias = Literal["hit", "miss", "stale", "revalidated", "error", "denied"]
RequestKind: TypeAlias = Literal["simple", "file", "metadata", "upload", "json", "other"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counters of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        self.requests = Counter(
            "pyproxy_requests_total",
            "Requests answered, by what they asked for and where the answer came from.",
            ["distribution", "kind", "result"],
            registry=r,
        )
        self.request_seconds = Histogram(
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
        self.upstream_seconds = Histogram(
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
        self.reload_failures = Counter(
            "pyproxy_config_reload_failures_total", "Reloads refused because the configuration was wrong.", registry=r
        )
        self.open_connections = Gauge("pyproxy_open_connections", "Connections of clients open now.", registry=r)
        self.build_info = Gauge(
            "pyproxy_build_info", "1, labelled with the versions.", ["version", "python"], registry=r
        )
        self.build_info.labels(__version__, platform.python_version()).set(1)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def asked(self, remote: str, kind: str, status: str, seconds: float) -> None:
        """Counts one request to a remote (the observer of `Upstream`)."""
        self.upstream_requests.labels(remote, kind, status).inc()
        self.upstream_seconds.labels(remote, kind).observe(seconds)
