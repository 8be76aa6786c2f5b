"""Decoded pages kept in memory: the most recently used, bounded by the number of files on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import msgspec

from pyproxy.index.companions import learned_as
from pyproxy.model import File, Filename, ProjectName, ProjectPage, Sha256
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
    seen: bytes = b""
    """The stamp of `Changes` when it was last compared with what is stored."""
    _digests: Mapping[Filename, Sha256] = field(default_factory=dict, repr=False)
    """Those findings."""
    _links: dict[str, File] | None = field(default=None, repr=False)

    def file(self, link: str) -> File | None:
        """The file under this percent-decoded link."""
        if self._links is None:
            links: dict[str, File] = {}
            for file in self.page.files:
                links.setdefault(unquote(file.link), file)
            self._links = links
        return self._links.get(link)

    def learn(self, version: int, digests: Mapping[Filename, Sha256]) -> None:
        """Makes `page` say which core metadata its wheels really have, by `learned_as`; touches only what is new."""
        new = {name: digest for name, digest in digests.items() if self._digests.get(name) != digest}
        self.learned = version
        self._digests = digests
        names = {name.rpartition(" ")[0] for name in new}
        files = list(self.page.files)
        for position, file in enumerate(files):
            if file.filename not in names or not file.is_wheel or (digest := new.get(learned_as(file))) is None:
                continue
            files[position] = said = msgspec.structs.replace(file, core_metadata={"sha256": digest})
            link = unquote(file.link)
            if self._links is not None and self._links.get(link) is file:
                self._links[link] = said
        if new:
            self.page = msgspec.structs.replace(self.page, files=tuple(files))


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
