"""Decoded pages kept in memory: the most recently used, bounded by the number of files on them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import unquote

from pyproxy.model import File, ProjectName, ProjectPage
from pyproxy.storage.records import PageHead

CAPACITY = 20_000
"""Files; about 1 KiB of memory each."""


@dataclass(slots=True)
class Held:
    """A page as stored, and by which link each of its files is asked for."""

    head: PageHead
    raw: ProjectPage
    """As the remote gave it."""
    page: ProjectPage
    """As it is served: with the digests of core metadata that were found out here."""
    learned: int
    """The version of those findings when `page` was made."""
    _links: dict[str, File] | None = field(default=None, repr=False)

    def file(self, link: str) -> File | None:
        """The file under this percent-decoded link."""
        if self._links is None:
            links: dict[str, File] = {}
            for file in self.page.files:
                links.setdefault(unquote(file.link), file)
            self._links = links
        return self._links.get(link)

    def forget_links(self) -> None:
        """`page` has been replaced."""
        self._links = None


class Shelf:
    """The pages of one remote that were used last. Owned by the event loop."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._held: OrderedDict[ProjectName, Held] = OrderedDict()
        self._capacity = capacity
        self._files = 0

    def get(self, project: ProjectName) -> Held | None:
        held = self._held.get(project)
        if held is not None:
            self._held.move_to_end(project)
        return held

    def put(self, project: ProjectName, held: Held) -> None:
        self.drop(project)
        self._held[project] = held
        self._files += 1 + len(held.page.files)
        while self._files > self._capacity and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._files -= 1 + len(gone.page.files)

    def drop(self, project: ProjectName) -> None:
        if (gone := self._held.pop(project, None)) is not None:
            self._files -= 1 + len(gone.page.files)
