"""How a site is built from a configuration, and what of the one before it is taken over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from pyproxy.auth import Guard, Rights
from pyproxy.collisions import Collisions
from pyproxy.config import Config, DistributionConfig, GuardConfig
from pyproxy.index.made_pages import MadePages
from pyproxy.list_renderings import ListRenderings
from pyproxy.renderings import Renderings
from pyproxy.site.current import Machinery, Site, known
from pyproxy.site.distribution import Distribution, Layers
from pyproxy.site.moments import Moments
from pyproxy.site.nest import EVERYTHING, layers_of
from pyproxy.site.remotes import source_of
from pyproxy.site.sources import Source
from pyproxy.site.watching import watched_of


def build(config: Config, machinery: Machinery, old: Site | None = None) -> Site:
    """The site that this configuration describes. Sources and guards that `old` has alike are taken over."""
    # Filters are a distribution's affair: a remote runs on, with what it holds, where they alone change.
    unfiltered = {name: replace(remote, filters=EVERYTHING) for name, remote in config.remotes.items()}
    sources = {
        name: source_of(remote, config.server.request_timeout, machinery, old) for name, remote in unfiltered.items()
    }
    machinery.tokens = frozenset(digest for guard in config.guards.values() for digest in guard.tokens.values())
    guards = {name: (guard, _guard(guard, machinery, old)) for name, guard in config.guards.items()}
    distributions = {
        d.base_path: _distribution(d, layers_of(d, config.remotes, sources, machinery, MadePages()), guards)
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
    layers = layers_of(config.distributions[now.name], config.remotes, sources, machinery, made, instant=instant)
    return replace(now, base_path=base_path, layers=layers, pinned=pinned, allow_uploads=False, default=False)


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


def _counted(collisions: Collisions, distribution: str) -> float:
    return known(lambda: collisions.count(distribution))
