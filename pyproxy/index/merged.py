"""Local content ahead of the remotes: one page of both, or the local one alone, and names that are never asked for.

`ahead`: local files first, then the remote's; of two files with one name the local one. `shadow`: a project with a
local file is answered from local files alone. A private name is never asked of a remote, in either.

NOTICE: under `ahead` whoever owns the name on a remote can add files to a project of yours (dependency confusion).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from pyproxy.errors import FileUnknown, NotCached, ProjectUnknown, RemoteFailed
from pyproxy.index.made_pages import MadePages
from pyproxy.index.protocol import Details, FileRef, Index, LocalContent, Names, OfferedFile, Served
from pyproxy.model import Filename, ProjectName, ProjectPage, projects_of, version_of
from pyproxy.selection import Sieve

log = logging.getLogger(__name__)

Merge = Literal["ahead", "shadow"]


class MergedIndex:
    """A repository and the remotes behind it. `private` tells which names stay here.

    `met` is told of each project that is found in both, `parted` of each local one that no remote has.
    """

    def __init__(
        self,
        local: LocalContent,
        remote: Index,
        *,
        merge: Merge,
        private: Callable[[ProjectName], bool],
        met: Callable[[ProjectName], None],
        parted: Callable[[ProjectName], None],
        made: MadePages,
    ) -> None:
        self._local = local
        self._remote = remote
        self._merge = merge
        self._private = private
        self._met = met
        self._parted = parted
        self._made = made

    async def projects(self) -> Served[Mapping[str, Names]]:
        local = await self._local.projects()
        try:
            remote = await self._remote.projects()
        except ProjectUnknown:
            return local
        except (RemoteFailed, NotCached) as exc:
            log.warning("the list of projects holds local ones alone: %s", exc)
            return Served(local.value, "stale", 0.0)
        return Served({**local.value, **remote.value}, remote.result, min(local.fresh_for, remote.fresh_for))

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        local = self._local.held(project)
        if self._private(project) or (self._merge == "shadow" and local is not None):
            return await self._local.page(project)
        try:
            remote = await self._remote.page(project)
        except ProjectUnknown as exc:
            if local is None:
                raise
            self._parted(project)
            return (await self._local.page(project)).within(exc.fresh_for)
        except (RemoteFailed, NotCached) as exc:
            if local is None:
                raise
            # What is ours does not go away with a remote; nor may anybody keep a page that lacks the rest.
            log.warning("the page of %s holds local files alone: %s", project, exc)
            return Served(local, "stale", 0.0)
        if local is None:
            return remote
        self._met(project)
        return Served(self._both(project, local, remote.value), remote.result, remote.fresh_for)

    async def file(self, ref: FileRef) -> OfferedFile:
        if ref.source == self._local.source:
            return await self._local.file(ref)
        for project in projects_of(ref.filename):
            self._refuse_hidden(project, ref.filename)
        offered = await self._remote.file(ref)
        self._refuse_hidden(offered.project, ref.filename)
        return offered

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        local = await self._local.details(project, version)
        if self._private(project) or (self._merge == "shadow" and self._local.held(project) is not None):
            return local
        try:
            remote = await self._remote.details(project, version)
        except ProjectUnknown:
            return local
        except (RemoteFailed, NotCached) as exc:
            if self._local.held(project) is None:
                raise
            log.info("what is told of %s is local alone: %s", project, exc)
            return Served(local.value, "stale", 0.0)
        return Served(Details(remote.value.document, local.value.digests), remote.result, remote.fresh_for)

    def _refuse_hidden(self, project: ProjectName, filename: Filename) -> None:
        """Raises FileUnknown for a remote's file that the project's page here does not show."""
        if self._private(project):
            raise FileUnknown(f"{project} is private here and never asked of a remote")
        local = self._local.held(project)
        if local is None:
            return
        if self._merge == "shadow":
            raise FileUnknown(f"{project} is served from local files alone")
        if any(file.filename == filename for file in local.files):
            raise FileUnknown(f"{filename} is served from its local file")

    def _both(self, project: ProjectName, local: ProjectPage, remote: ProjectPage) -> ProjectPage:
        page = self._made.get(self, project, local, remote)
        if page is None:
            page = merged(local, remote)
            self._made.put(self, page, local, remote)
        return page


class PrivateIndex:
    """Remotes, some of whose names are never asked for: nor does their list of projects show these."""

    def __init__(self, remote: Index, private: Callable[[ProjectName], bool], *, unlisted: Sieve) -> None:
        self._remote = remote
        self._private = private
        self._unlisted = unlisted

    async def projects(self) -> Served[Mapping[str, Names]]:
        served = await self._remote.projects()
        lists = {keeper: names.sifted(self._unlisted) for keeper, names in served.value.items()}
        return Served(lists, served.result, served.fresh_for)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        if self._private(project):
            raise ProjectUnknown(f"{project} is private here and never asked of a remote")
        return await self._remote.page(project)

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        if self._private(project):
            raise ProjectUnknown(f"{project} is private here and never asked of a remote")
        return await self._remote.details(project, version)

    async def file(self, ref: FileRef) -> OfferedFile:
        if any(map(self._private, projects_of(ref.filename))):
            raise FileUnknown("it belongs to a project that is private here and never asked of a remote")
        return await self._remote.file(ref)


def merged(local: ProjectPage, remote: ProjectPage) -> ProjectPage:
    """One page of both: the local files, then those of the remote whose names are not taken.

    A quarantined project loses the remote's files and its mark: the local ones are the owner's own.
    """
    if remote.status == "quarantined":
        return local
    taken = {file.filename for file in local.files}
    files = (*local.files, *(file for file in remote.files if file.filename not in taken))
    ours = [version_of(file.filename, local.name) for file in local.files]
    theirs = list(remote.versions or ())
    if remote.versions is None:
        theirs = [version for file in remote.files if (version := version_of(file.filename, remote.name)) is not None]
    versions = tuple(dict.fromkeys([*theirs, *(version for version in ours if version is not None)]))
    return msgspec.structs.replace(remote, files=files, versions=versions)
