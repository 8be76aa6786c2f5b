"""Names that are both in a distribution's repository and on one of its remotes: the ground of dependency confusion.

Found from what the store knows, and never by asking a remote: a name is on a remote that has given a page for it, or
has it on its list of projects.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyproxy.errors import StoreTrouble, VersionUnknown
from pyproxy.listing import listed, names_file
from pyproxy.model import ProjectName, as_project
from pyproxy.storage.records import Records
from pyproxy.storage.repository import Repositories

log = logging.getLogger(__name__)

_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A distribution that merges a repository (`version` None: its latest) with remotes, `merge: ahead`.

    `remotes` are their names with the origins that their stored pages and lists must be of; `private` tells which names
    are never asked of them, `admits` whether the filters let a remote's project of this name in.
    """

    name: str
    repository: str
    version: int | None
    remotes: Mapping[str, str]
    private: Callable[[ProjectName], bool]
    admits: Callable[[str, ProjectName], bool]

    def may_collide(self, remote: str, project: ProjectName) -> bool:
        return not self.private(project) and self.admits(remote, project)


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of remotes. `lists` is the folder of their lists of projects."""

    records: Records
    lists: Path

    def names(self, watched: Watched, projects: Collection[ProjectName]) -> dict[ProjectName, str]:
        """Those of the projects that are on a remote, with the first one's name. Blocking. Raises StoreTrouble."""
        found: dict[ProjectName, str] = {}
        for remote, origin in watched.remotes.items():
            asked = [project for project in projects if watched.may_collide(remote, project)]
            for project in asked:
                head = self.records.page_head(remote, project)
                if head is not None and head.url == origin:
                    found.setdefault(project, remote)
            names = self.list_of(remote, origin)
            if names is not None:
                for project in listed(names, asked):
                    found.setdefault(project, remote)
        return found

    def list_of(self, remote: str, origin: str) -> Path | None:
        """The file of the remote's list of projects, where one is stored."""
        record = self.records.doc(remote, "list", "")
        if record is None or record.url != origin:
            return None
        return names_file(self.lists, remote, record.body.decode())


def collisions(repositories: Repositories, known: Known, watched: Watched) -> dict[ProjectName, str]:
    """All of a distribution's, with the remotes' names. Blocking. Raises StoreTrouble, VersionUnknown."""
    version = repositories.latest(watched.repository) if watched.version is None else watched.version
    return known.names(watched, [as_project(name) for name in repositories.projects(watched.repository, version)])


@dataclass(slots=True)
class _Seen:
    """What is known of one distribution's collisions, as of a version of its repository and of the remotes' lists."""

    watched: Watched
    names: set[ProjectName] = field(default_factory=set)
    version: int = 0
    lists: tuple[Path | None, ...] = ()


class Collisions:
    """The collisions of a daemon's distributions, followed. Called from any thread."""

    def __init__(self, repositories: Repositories, known: Known) -> None:
        self._repositories = repositories
        self._known = known
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()  # guards what is in `_seen`; held for moments, as the event loop waits for it
        self._looking = threading.Lock()  # one look at a time; it may take a second

    def watch(self, distributions: Iterable[Watched]) -> None:
        """From now on these are followed, and no others."""
        with self._lock:
            before = self._seen
            self._seen = {one.name: _Seen(one) for one in distributions}
            for name, seen in self._seen.items():
                if name in before:  # what was told once is not told again
                    watched = seen.watched
                    seen.names = {
                        project
                        for project in before[name].names
                        if any(watched.may_collide(remote, project) for remote in watched.remotes)
                    }

    def met(self, name: str, project: ProjectName) -> None:
        """A page was made of local files and a remote's."""
        with self._lock:
            if (seen := self._seen.get(name)) is not None:
                _add(seen, [project])

    def parted(self, name: str, project: ProjectName) -> None:
        """No remote has the project, whatever was known of it."""
        with self._lock:
            if (seen := self._seen.get(name)) is not None:
                seen.names.discard(project)

    def added(self, name: str, project: ProjectName) -> None:
        """A file of the project was added to the repository: is a remote known to have it? Never raises."""
        seen = self._seen.get(name)
        if seen is None or project in seen.names:
            return
        try:
            found = self._known.names(seen.watched, [project])
        except StoreTrouble as exc:
            _not_looked(name, exc)
            return
        with self._lock:
            _add(seen, found)

    def count(self, name: str) -> int:
        """How many there are, all changes considered. Blocking. Raises StoreTrouble."""
        seen = self._seen.get(name)
        if seen is None:
            return 0
        with self._looking:
            self._look(seen)
        return len(seen.names)

    def names(self) -> dict[str, list[ProjectName]]:
        """By distribution, those that are known now."""
        with self._lock:
            return {name: sorted(seen.names) for name, seen in self._seen.items()}

    def look(self) -> None:
        """Looks at all of them, and tells of what is new. Blocking; never raises for the store's trouble."""
        for name in list(self._seen):
            try:
                self.count(name)
            except StoreTrouble as exc:
                _not_looked(name, exc)

    def _look(self, seen: _Seen) -> None:
        """Looks at what has changed since the last look: projects of the repository, or the remotes' lists."""
        watched, repositories = seen.watched, self._repositories
        latest = repositories.latest(watched.repository)
        version = latest if watched.version is None else watched.version
        lists = tuple(self._known.list_of(remote, origin) for remote, origin in watched.remotes.items())
        if (seen.version, seen.lists) == (version, lists):
            return
        touched = repositories.touched(watched.repository, seen.version if seen.lists == lists else 0)
        try:
            held = {project for project in touched if repositories.has(watched.repository, project, version)}
        except VersionUnknown:
            held = set()  # pinned to what is not there: no page is served at all
        found = self._known.names(watched, held)
        with self._lock:
            seen.names -= set(touched) - held
            _add(seen, found)
            seen.version, seen.lists = version, lists


def _add(seen: _Seen, projects: Iterable[ProjectName]) -> None:
    new = sorted(set(projects) - seen.names)
    seen.names.update(new)
    if new:
        more = f" and {len(new) - _TOLD} more" if len(new) > _TOLD else ""
        log.warning(
            "distribution %s: %s%s %s both in its repository and on a remote; make it private, or merge: shadow",
            seen.watched.name,
            ", ".join(new[:_TOLD]),
            more,
            "is" if len(new) == 1 else "are",
        )


def _not_looked(name: str, exc: StoreTrouble) -> None:
    log.warning("distribution %s: names that are also on remotes were not looked for: %s", name, exc)
