"""Several remotes in order: the first that knows a project answers for it, pages and files alike.

A remote that could not be asked is an error, never skipped: a later one must not step in with other people's
package of the same name.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from pyproxy.errors import FileUnknown, ProjectUnknown
from pyproxy.index.protocol import Details, FileRef, Index, Names, OfferedFile, Served
from pyproxy.model import ProjectName, ProjectPage, printable


class OrderedIndex:
    """The named indexes, first to last."""

    def __init__(self, indexes: Sequence[tuple[str, Index]]) -> None:
        self._indexes = tuple(indexes)

    async def projects(self) -> Served[Mapping[str, Names]]:
        """Every list there is. Raises ProjectUnknown where no remote has one."""
        answers = await asyncio.gather(*(index.projects() for _, index in self._indexes), return_exceptions=True)
        found: list[Served[Mapping[str, Names]]] = []
        none: ProjectUnknown | None = None
        for answer in answers:
            if isinstance(answer, ProjectUnknown):
                none = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append(answer)
        if not found:
            raise none or ProjectUnknown("no remote gives a list of its projects")
        names = {keeper: names for served in found for keeper, names in served.value.items()}
        oldest = min(found, key=lambda served: served.fresh_for)
        return Served(names, oldest.result, oldest.fresh_for)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        believed = math.inf
        for _, index in self._indexes:
            try:
                served = await index.page(project)
            except ProjectUnknown as exc:
                believed = min(believed, exc.fresh_for)
                continue
            # An earlier remote that has the project by then answers for it.
            return served.within(believed)
        raise self._unknown(project, believed)

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        for _, index in self._indexes:
            try:
                await index.page(project)
            except ProjectUnknown:
                continue
            return await index.details(project, version)
        raise self._unknown(project)

    async def file(self, ref: FileRef) -> OfferedFile:
        remote = ref.source.partition("~")[0]
        for position, (name, index) in enumerate(self._indexes):
            if name == remote:
                offered = await index.file(ref)
                await self._none_earlier(position, offered.project)
                return offered
        raise FileUnknown(f"no remote {printable(remote)} is served here")

    def _unknown(self, project: ProjectName, fresh_for: float = math.inf) -> ProjectUnknown:
        names = ", ".join(name for name, _ in self._indexes)
        return ProjectUnknown(f"no remote of {names} has project {project}", fresh_for)

    async def _none_earlier(self, position: int, project: ProjectName) -> None:
        """Raises FileUnknown where an earlier remote knows the project: its page would not show this file."""
        for name, index in self._indexes[:position]:
            try:
                await index.page(project)
            except ProjectUnknown:
                continue
            raise FileUnknown(f"{project} is served from remote {name}")
