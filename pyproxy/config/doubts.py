"""What works and may still be a mistake: nobody is refused for it, everybody is told."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from pyproxy.config.addresses import Listen, UnixListen, is_loopback
from pyproxy.config.settings import Config, DistributionConfig, FilterConfig, GuardConfig, RemoteConfig, ServerConfig
from pyproxy.config.values import one_of

_Doubts = Iterator[tuple[str, str]]  # path and message of each


def warnings(config: Config) -> list[str]:
    """One line each: `FILE:LINE: path.to.key: message`."""
    doubts = (_of_server, _of_remotes, _of_repositories, _of_guards, _of_distributions)
    found = (doubt for of in doubts for doubt in of(config))
    return [f"{config.where(path)}: {path}: {message}" for path, message in found]


def _of_server(config: Config) -> _Doubts:
    listen = config.server.listen
    open_to_all = [name for name, it in config.distributions.items() if _reads_everybody(config, it)]
    if _is_exposed(listen) and open_to_all:
        what = "all that is served" if len(open_to_all) == len(config.distributions) else " and ".join(open_to_all)
        yield "server.listen", f"{listen} is open to other machines: whoever reaches it can read {what}"


def _of_remotes(config: Config) -> _Doubts:
    for name, remote in config.remotes.items():
        for key, message in _of_remote(remote):
            yield f"remotes.{name}.{key}", message
    used = {name for distribution in config.distributions.values() for name in distribution.remotes}
    for name in config.remotes:
        if name not in used:
            yield f"remotes.{name}", "no distribution asks this remote"


def _of_remote(remote: RemoteConfig) -> _Doubts:
    host = urlsplit(remote.url).hostname or ""
    secret = "password" if remote.password else "username" if remote.username else "headers" if remote.headers else None
    if secret and remote.url.startswith("http:") and not is_loopback(host):
        yield secret, f"is sent to {host} unencrypted: its url is an http:// one"
    if not remote.tls.verify and remote.url.startswith("https:"):
        yield "tls.verify", f"whoever stands between here and {host} can change every file"
    yield from _of_filters(remote.filters)


def _of_filters(filters: FilterConfig) -> _Doubts:
    if filters.exempt and not filters.needs_upload_times:
        yield "exempt", "means nothing without min_age or exclude_newer"
    # What is bare in both is never asked for; nobody writes that on purpose.
    excluded = {it.names for it in filters.excludes if it.versions is None}
    for selector in filters.includes:
        if selector.names in excluded:
            yield "includes", f"names {selector}, which excludes leaves nothing of"


def _of_repositories(config: Config) -> _Doubts:
    for repository in config.repositories:
        serving = [it for it in config.distributions.values() if it.repository == repository]
        if not serving:
            yield f"repositories.{repository}", "no distribution serves this repository"
        guarded = [it.name for it in serving if not _reads_everybody(config, it)]
        for distribution in serving:
            if guarded and distribution.name not in guarded:
                yield (
                    f"distributions.{distribution.name}.repository",
                    f"everybody may read {repository} here, though a guard stands before it in {one_of(guarded)}",
                )


def _of_guards(config: Config) -> _Doubts:
    used = {it.content_guard for it in config.distributions.values()}
    for name, guard in config.guards.items():
        if not guard.tokens and not guard.users:
            continue
        if name not in used:
            yield f"guards.{name}", "no distribution stands behind this guard"
        elif _is_exposed(config.server.listen) and not _is_behind_tls(config.server):
            listen = config.server.listen
            yield f"guards.{name}", f"tokens and passwords come to {listen} unencrypted: public_url is no https:// one"
        yield from _of_tokens(guard)


def _of_tokens(guard: GuardConfig) -> _Doubts:
    for token in guard.tokens:
        if token not in guard.upload and token not in (guard.read or ()):
            yield f"guards.{guard.name}.tokens.{token}", "stands neither in read nor in upload, and so opens nothing"


def _of_distributions(config: Config) -> _Doubts:
    for name, distribution in config.distributions.items():
        for key, message in _of_distribution(config, distribution):
            yield f"distributions.{name}.{key}", message
    if not any(distribution.default for distribution in config.distributions.values()):
        yield "distributions", "none has default: true, so that nothing is served at /simple/"


def _of_distribution(config: Config, distribution: DistributionConfig) -> _Doubts:
    if distribution.allow_uploads:
        yield from _of_uploads(config, distribution)
    if distribution.merge == "shadow" and not (distribution.repository and distribution.remotes):
        yield "merge", "means nothing without both a remote and a repository"
    if distribution.private and not distribution.remotes:
        yield "private", "means nothing without a remote"
    for key, message in _of_filters(distribution.filters):
        yield f"filters.{key}", message


def _of_uploads(config: Config, distribution: DistributionConfig) -> _Doubts:
    if distribution.repository_version is not None:
        yield "allow_uploads", "no upload is taken while repository_version pins what is served"
    elif distribution.content_guard is not None:
        if not config.guards[distribution.content_guard].upload:
            yield "allow_uploads", f"guards.{distribution.content_guard} names nobody who may upload"
    elif _is_exposed(config.server.listen):
        listen = config.server.listen
        yield "allow_uploads", f"without a content_guard only this machine may, though {listen} is open to others"
    elif config.server.public_url is not None:
        why = "a reverse proxy that adds no X-Forwarded-For opens uploads to whoever reaches it"
        yield "allow_uploads", f"without a content_guard, {why}"


def _reads_everybody(config: Config, distribution: DistributionConfig) -> bool:
    return distribution.content_guard is None or config.guards[distribution.content_guard].read is None


def _is_exposed(listen: Listen | UnixListen) -> bool:
    return isinstance(listen, Listen) and not is_loopback(listen.host)


def _is_behind_tls(server: ServerConfig) -> bool:
    return server.public_url is not None and server.public_url.startswith("https:")
