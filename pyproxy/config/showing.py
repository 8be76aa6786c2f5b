"""A configuration for people: what it resolves to, every default written out, without a secret in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import yaml

from pyproxy.config.addresses import without_userinfo
from pyproxy.config.settings import (
    Config,
    DistributionConfig,
    FilterConfig,
    GuardConfig,
    RemoteConfig,
    TlsConfig,
)
from pyproxy.config.values import show_duration, show_size
from pyproxy.secret import Secret


def describe(config: Config) -> str:
    """The whole configuration as YAML, every default written out; secrets and what is made of them as `***`."""
    server, storage = config.server, config.storage
    machine = [name for name, remote in config.remotes.items() if remote.machine]
    # Any: a tree of plain values, as YAML knows them.
    tree: dict[str, Any] = {
        "server": {
            "listen": str(server.listen),
            "workers": server.workers,
            "public_url": server.public_url,
            "request_timeout": show_duration(server.request_timeout),
            "max_upload_size": show_size(server.max_upload_size),
            "watch_config": server.watch_config,
            "hot_path": server.hot_path,
        },
        "storage": {"path": str(storage.path), "max_cache_size": show_size(storage.max_cache_size)},
        "remotes": {name: _remote(remote) for name, remote in config.remotes.items()},
        "repositories": {name: {} for name in config.repositories},
        "guards": {name: _guard(guard) for name, guard in config.guards.items()},
        "distributions": {name: _distribution(it) for name, it in config.distributions.items()},
    }
    head = [f"# {config.source}", *(f"# {name}: the index that pip on this machine uses" for name in machine)]
    body = yaml.safe_dump(tree, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=False)
    return "\n".join([*head, body])


def as_entry(key: str, value: str) -> str:
    """A key and its value as they may be pasted into the file: in quotes where YAML would take them for no text."""
    return yaml.safe_dump({key: value}, width=1000).strip()


def _remote(remote: RemoteConfig) -> dict[str, Any]:  # Any: as above
    return {
        "url": remote.url,
        "policy": remote.policy,
        "ttl": show_duration(remote.ttl),
        "negative_ttl": show_duration(remote.negative_ttl),
        "stale_if_error": show_duration(remote.stale_if_error),
        "stale_after": show_duration(remote.stale_after),
        "headers": {name: str(value) for name, value in remote.headers.items()},
        "username": _secret(remote.username),
        "password": _secret(remote.password),
        "proxy": without_userinfo(remote.proxy.reveal()) if remote.proxy else None,
        "tls": _tls(remote.tls),
        "connect_timeout": show_duration(remote.connect_timeout),
        "read_timeout": show_duration(remote.read_timeout),
        "max_connections": remote.max_connections,
        "retries": remote.retries,
        "file_hosts": None if remote.file_hosts is None else list(remote.file_hosts),
        "missing_status": sorted(remote.missing_status),
        **_filters(remote.filters),
    }


def _tls(tls: TlsConfig) -> dict[str, Any]:  # Any: as above
    paths = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    return {**{name: None if path is None else str(path) for name, path in paths.items()}, "verify": tls.verify}


def _guard(guard: GuardConfig) -> dict[str, Any]:  # Any: as above
    return {
        "read": None if guard.read is None else sorted(guard.read),
        "upload": sorted(guard.upload),
        # Hashes, and yet good for guessing at what somebody chose instead of `pyproxy token`.
        "tokens": dict.fromkeys(guard.tokens, "***"),
        "htpasswd": None if guard.htpasswd is None else str(guard.htpasswd),
    }


def _distribution(distribution: DistributionConfig) -> dict[str, Any]:  # Any: as above
    return {
        "base_path": distribution.base_path,
        "remote": list(distribution.remotes) or None,
        "repository": distribution.repository,
        "repository_version": distribution.repository_version,
        "allow_uploads": distribution.allow_uploads,
        "merge": distribution.merge,
        "private": list(distribution.private),
        "content_guard": distribution.content_guard,
        "hidden": distribution.hidden,
        "labels": dict(distribution.labels),
        "default": distribution.default,
        "filters": _filters(distribution.filters),
    }


def _filters(filters: FilterConfig) -> dict[str, Any]:  # Any: as above
    newer, largest = filters.exclude_newer, filters.max_file_size
    return {
        "includes": list(map(str, filters.includes)),
        "excludes": list(map(str, filters.excludes)),
        "prereleases": filters.prereleases,
        "package_types": list(filters.package_types) or None,
        "exclude_platforms": list(filters.exclude_platforms),
        "keep_latest_packages": filters.keep_latest_packages,
        "min_age": show_duration(filters.min_age),
        "exclude_newer": None if newer is None else datetime.fromtimestamp(newer, UTC).isoformat(),
        "exempt": list(map(str, filters.exempt)),
        "unknown_age": filters.unknown_age,
        "block": list(filters.block),
        "require_provenance": filters.require_provenance,
        "max_file_size": None if largest is None else show_size(largest),
    }


def _secret(secret: Secret | None) -> str | None:
    return None if secret is None else str(secret)
