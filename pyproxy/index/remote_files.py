"""The files of one remote, as its index offers them."""

from __future__ import annotations

from dataclasses import dataclass

from pyproxy.index.archives import Archives
from pyproxy.index.companions import Companions
from pyproxy.index.protocol import Content, Document, Facts, FileRef, Served
from pyproxy.model import File, ProjectName


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file, and who finds or fetches it."""

    project: ProjectName
    file: File
    archives: Archives
    companions: Companions

    async def facts(self, *, size: bool) -> Facts:
        return await self.archives.facts(self.project, self.file, size=size)

    async def archive(self) -> Content:
        return await self.archives.content(self.project, self.file)

    async def metadata(self) -> Content:
        return await self.companions.metadata(self.project, self.file)

    async def signature(self) -> Content:
        return await self.companions.signature(self.file)

    async def provenance(self) -> Served[Document]:
        return await self.companions.provenance(self.file)


@dataclass(frozen=True, slots=True)
class RemoteFiles:
    """The archives of a remote and what stands beside them."""

    archives: Archives
    companions: Companions

    def offer(self, project: ProjectName, file: File) -> RemoteFile:
        return RemoteFile(project, file, self.archives, self.companions)

    def kept(self, ref: FileRef) -> RemoteFile | None:
        """A stored file whose link no page names any more."""
        found = self.archives.kept(ref)
        return None if found is None else self.offer(*found)

    async def close(self) -> None:
        await self.companions.close()
