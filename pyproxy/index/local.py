"""A repository as an Index: its latest version or a pinned one, always answered from this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pyproxy.errors import BlobDamaged, FileUnknown, ProjectUnknown
from pyproxy.index.protocol import Content, Details, Document, Facts, FileRef, Names, OfferedFile, Served, etag_of
from pyproxy.model import File, ProjectName, ProjectPage, normalised, printable
from pyproxy.storage.repository import LocalFile, Repositories

SOURCE = "local"
"""The source of a local file's link."""

PROVENANCE_TYPE = "application/vnd.pypi.integrity.v1+json"

LIFE = 600.0
"""Seconds that a page of a pinned version is called fresh: it changes with the configuration alone."""

GRACE = 60.0
"""Seconds for which a file that a rollback took away is still served by its link, to whom has seen it on a page. What
was removed is gone at once."""

LIST_UNUSED = 3600.0
"""Seconds after which a list of another version of a repository goes, unless it was asked for."""

PAGES = 1000
"""Pages kept as objects, so that what was rendered of an unchanged one serves on."""


class LocalIndex:
    """What one distribution shows of one repository. `version` None: the latest, or what was that at `instant`."""

    def __init__(
        self,
        repositories: Repositories,
        *,
        repository: str,
        version: int | None,
        instant: float | None = None,
        lists: Path,
        executor: Executor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repositories = repositories
        self._repository = repository
        self._pinned = version
        self._instant = instant
        self._lists = lists
        self._executor = executor
        self._clock = clock
        self._pages: OrderedDict[ProjectName, tuple[int, ProjectPage | None]] = OrderedDict()

    @property
    def source(self) -> str:
        return SOURCE

    @property
    def version(self) -> int:
        """The number of the version that is shown now. Raises VersionUnknown where that of an instant was pruned."""
        if self._instant is not None:
            then = self._repositories.at(self._repository, self._instant)
            return then if self._pinned is None else min(then, self._pinned)
        return self._repositories.latest(self._repository) if self._pinned is None else self._pinned

    def held(self, project: ProjectName) -> ProjectPage | None:
        """The project's page, None where the version shown has no file of it; the same object while unchanged."""
        version = self.version
        kept = self._pages.get(project)
        if kept is not None and kept[0] == version:
            self._pages.move_to_end(project)
            return kept[1]
        files = self._repositories.page_files(self._repository, project, version)
        page = _page(project, files) if files else None
        if kept is not None and kept[1] == page:
            page = kept[1]
        self._pages[project] = (version, page)
        self._pages.move_to_end(project)
        while len(self._pages) > PAGES:
            self._pages.popitem(last=False)
        return page

    async def projects(self) -> Served[Mapping[str, Names]]:
        version = self.version
        names = await asyncio.get_running_loop().run_in_executor(self._executor, self._names, version)
        return Served({SOURCE: names}, "hit", LIFE)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        page = self.held(project)
        if page is None:
            raise ProjectUnknown(f"repository {self._repository} has no project {project}")
        return Served(page, "hit", LIFE)

    async def file(self, ref: FileRef) -> OfferedFile:
        _, _, rest = ref.path.partition("/")
        project = ProjectName(rest.partition("/")[0])
        found = self._repositories.file(self._repository, project, ref.filename, self.version)
        if found is None and self._pinned is None and self._instant is None:
            since = self._clock() - GRACE
            found = self._repositories.rolled_back(self._repository, project, ref.filename, since=since)
        if found is None or ref.path != f"/{project}/{ref.filename}":
            raise FileUnknown(f"repository {self._repository} has no file {printable(ref.filename)} there")
        return LocalOffer(found, _file(found), self._repositories)

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        del version
        files = self._repositories.page_files(self._repository, project, self.version)
        return Served(Details(digests={file.filename: file.hashes for file in files}), "hit", LIFE)

    def _names(self, version: int) -> Names:
        """Writes the list for the renderer, once for each version. Blocking."""
        display = self._repositories.projects(self._repository, version)
        body = "".join(f"{name}\n" for name in sorted(display, key=normalised)).encode()
        digest = hashlib.sha256(body).hexdigest()
        path = self._lists / f"local.{self._repository}.{digest[:16]}.names"
        if path.exists():
            os.utime(path)
            return Names(path, digest)
        part = path.with_suffix(f".part-{os.getpid()}-{threading.get_ident()}")
        part.write_bytes(body)
        part.replace(path)
        for old in self._lists.glob(f"local.{self._repository}.*.names"):
            if old != path:
                _drop_unless_used(old)
        return Names(path, digest)


@dataclass(frozen=True, slots=True)
class LocalOffer:
    """A local file, as an index offers it."""

    local: LocalFile
    file: File
    repositories: Repositories

    @property
    def project(self) -> ProjectName:
        return self.local.project

    async def facts(self, *, size: bool) -> Facts:
        del size
        return Facts(self.local.size, etag_of(self.local.digest), lasting=True, stored=True)

    async def archive(self) -> Content:
        digest = self.local.digest
        try:
            blob = self.repositories.open(digest)
        except BlobDamaged:
            if not await self.repositories.mend(digest):
                raise
            blob = self.repositories.open(digest)
        return Content("hit", etag_of(digest), lasting=True, blob=blob)

    async def metadata(self) -> Content:
        if self.local.metadata is None:
            raise FileUnknown(f"{self.local.filename} has no core metadata of its own")
        body = self.repositories.metadata(self.local.metadata)
        return Content("hit", etag_of(self.local.metadata), lasting=True, body=body)

    async def signature(self) -> Content:
        raise FileUnknown(f"{self.local.filename} has no signature")

    async def provenance(self) -> Served[Document]:
        if self.local.attestations is None:
            raise FileUnknown(f"{self.local.filename} has no provenance")
        body = self.repositories.attestations(self.local.attestations)
        return Served(Document(body, PROVENANCE_TYPE), "hit", LIFE)


def _drop_unless_used(path: Path) -> None:
    """Another distribution may show another version of the same repository, and its list is being read just now."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > LIST_UNUSED:
            path.unlink()


def _page(project: ProjectName, files: tuple[LocalFile, ...]) -> ProjectPage:
    versions = tuple(dict.fromkeys(file.version for file in files))
    return ProjectPage(project, tuple(map(_file, files)), versions)


def _file(local: LocalFile) -> File:
    link = f"{SOURCE}/{local.project}/{quote(local.filename, safe='!+')}"
    return File(
        filename=local.filename,
        url="",
        link=link,
        hashes={"sha256": local.digest},
        requires_python=local.requires_python,
        yanked=local.yanked,
        core_metadata={"sha256": local.metadata} if local.metadata is not None else False,
        size=local.size,
        upload_time=local.upload_time,
        provenance=link if local.attestations is not None else None,
    )
