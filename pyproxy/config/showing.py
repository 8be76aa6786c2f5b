"""A configuration for people: what it resolves to, without a secret in it, and what they may not have meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from pyproxy.config.addresses import Listen, is_loopback, without_userinfo
from pyproxy.config.settings import Config, DistributionConfig, RemoteConfig, TlsConfig
from pyproxy.config.values import show_duration, show_size
from pyproxy.secret import Secret


def describe(config: Config) -> str:
    """The whole configuration as YAML, every default written out, every secret as `***`."""
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
        },
        "storage": {"path": str(storage.path), "max_cache_size": show_size(storage.max_cache_size)},
        "remotes": {name: _remote(remote) for name, remote in config.remotes.items()},
        "distributions": {name: _distribution(it) for name, it in config.distributions.items()},
    }
    head = [f"# {config.source}", *(f"# {name}: the index that pip on this machine uses" for name in machine)]
    body = yaml.safe_dump(tree, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=False)
    return "\n".join([*head, body])


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
    }


def _tls(tls: TlsConfig) -> dict[str, Any]:  # Any: as above
    paths = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    return {**{name: None if path is None else str(path) for name, path in paths.items()}, "verify": tls.verify}


def _distribution(distribution: DistributionConfig) -> dict[str, Any]:  # Any: as above
    return {
        "base_path": distribution.base_path,
        "remote": list(distribution.remotes),
        "hidden": distribution.hidden,
        "labels": dict(distribution.labels),
        "default": distribution.default,
    }


def _secret(secret: Secret | None) -> str | None:
    return None if secret is None else str(secret)


def warnings(config: Config) -> list[str]:
    """What works and may still be a mistake, one line each: `FILE:LINE: path.to.key: message`."""
    found: list[str] = []

    def warn(path: str, message: str) -> None:
        found.append(f"{config.where(path)}: {path}: {message}")

    listen = config.server.listen
    if isinstance(listen, Listen) and not is_loopback(listen.host):
        warn("server.listen", f"{listen} is open to other machines: whoever reaches it can read all that is served")
    for name, remote in config.remotes.items():
        for key, message in _remote_warnings(remote).items():
            warn(f"remotes.{name}.{key}", message)
    used = {name for distribution in config.distributions.values() for name in distribution.remotes}
    for name in config.remotes:
        if name not in used:
            warn(f"remotes.{name}", "no distribution asks this remote")
    if not any(distribution.default for distribution in config.distributions.values()):
        warn("distributions", "none has default: true, so that nothing is served at /simple/")
    return found


def _remote_warnings(remote: RemoteConfig) -> Mapping[str, str]:
    found: dict[str, str] = {}
    host = urlsplit(remote.url).hostname or ""
    secret = "password" if remote.password else "username" if remote.username else "headers" if remote.headers else None
    if secret and remote.url.startswith("http:") and not is_loopback(host):
        found[secret] = f"is sent to {host} unencrypted: its url is an http:// one"
    if not remote.tls.verify and remote.url.startswith("https:"):
        found["tls.verify"] = f"whoever stands between here and {host} can change every file"
    return found
