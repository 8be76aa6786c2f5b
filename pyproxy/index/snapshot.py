"""An index of remotes as it stood at an instant: without what was uploaded later, or nobody knows when.

Pages tell when their files were uploaded, and nothing of what was there and is gone, or was yanked since: what a remote
has removed is gone from its past too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from pyproxy.errors import Withheld
from pyproxy.index.made_pages import MadePages
from pyproxy.index.protocol import Details, FileRef, Index, Names, OfferedFile, Served
from pyproxy.instants import as_uploaded, show_instant
from pyproxy.model import File, Filename, ProjectName, ProjectPage


class SnapshotIndex:
    """`instant` in seconds since the epoch."""

    def __init__(self, index: Index, instant: float, made: MadePages) -> None:
        self._index = index
        self._instant = instant
        self._made = made

    async def projects(self) -> Served[Mapping[str, Names]]:
        """As it is now: no remote tells since when it has a project."""
        return await self._index.projects()

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        return await self._index.details(project, version)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        served = await self._index.page(project)
        page = served.value
        then = self._made.get(self, project, page)
        if then is None:
            files = tuple(file for file in page.files if self._was_there(file))
            # `versions` follows what is shown when it is rendered.
            then = page if len(files) == len(page.files) else msgspec.structs.replace(page, files=files)
            self._made.put(self, then, page)
        return Served(then, served.result, served.fresh_for)

    async def file(self, ref: FileRef) -> OfferedFile:
        offered = await self._index.file(ref)
        file = offered.file
        if as_uploaded(file.upload_time) is None:
            file = await self._as_the_page_has_it(offered)
        if not self._was_there(file):
            raise Withheld(self.why_not(file))
        return offered

    def left_out(self, project: ProjectName, filename: Filename) -> File | None:
        """A file of this name that is not on the page of the project that was given last."""
        return next((file for file in self.all_left_out(project) if file.filename == filename), None)

    def all_left_out(self, project: ProjectName) -> Iterator[File]:
        """The files that are not on the page of the project that was given last."""
        files = (file for page in self._made.sources(self, project) for file in page.files)
        return (file for file in files if not self._was_there(file))

    def why_not(self, file: File) -> str:
        """Why a file is left out."""
        then = show_instant(self._instant)
        if as_uploaded(file.upload_time) is None:
            return f"nobody knows whether {file.filename} was there at {then}"
        return f"{file.filename} was uploaded after {then}"

    async def _as_the_page_has_it(self, offered: OfferedFile) -> File:
        """The page may know more of it: upload times that were looked for elsewhere."""
        page = (await self._index.page(offered.project)).value
        return next((file for file in page.files if file.link == offered.file.link), offered.file)

    def _was_there(self, file: File) -> bool:
        uploaded = as_uploaded(file.upload_time)
        return uploaded is not None and uploaded <= self._instant
