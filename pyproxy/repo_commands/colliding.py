"""What `pyproxy check` says of names that are both here and on a remote, as far as the store knows; asks no remote."""

from __future__ import annotations

from collections.abc import Iterator

from pyproxy.collisions import Known, Watched, collisions
from pyproxy.config import Config
from pyproxy.errors import PyproxyError, VersionUnknown
from pyproxy.site import watched_of
from pyproxy.storage.repository import Repositories, open_local
from pyproxy.storage.store import open_store


def colliding(config: Config) -> list[str]:
    """One line each: `FILE:LINE: path.to.key: message`; what hinders the look is one too."""
    try:
        return list(_colliding(config))
    except PyproxyError as exc:
        return [f"names that are both local and on a remote were not looked for: {exc}"]


def _colliding(config: Config) -> Iterator[str]:
    path = config.storage.path
    store = open_store(path, limit=config.storage.max_cache_size, exclusive=False)
    try:
        repositories = open_local(path, exclusive=False)
        try:
            known = Known(store.records, store.lists)
            for watched in watched_of(config):
                for key, why in _of(watched, repositories, known):
                    where = f"distributions.{watched.name}.{key}"
                    yield f"{config.where(where)}: {where}: {why}"
        finally:
            repositories.close()
    finally:
        store.close()


def _of(watched: Watched, repositories: Repositories, known: Known) -> Iterator[tuple[str, str]]:
    """What there is to say of one distribution, and by which of its keys."""
    try:
        found = collisions(repositories, known, watched)
    except VersionUnknown as exc:  # the others may collide all the same
        yield "repository_version", str(exc)
        return
    for project, remote in sorted(found.items()):
        why = f"{project} is both in repository {watched.repository} and on remote {remote}"
        yield "merge", f"{why}; make it private, or merge: shadow"
