"""The files of a page while it is read: each name once, each link checked, and what was left out and why."""

from __future__ import annotations

from pyproxy.errors import BadName, PageUnreadable
from pyproxy.model import File, Filename, Hashes, as_filename, package_type, printable
from pyproxy.simple_api.links import Linker, linked
from pyproxy.simple_api.references import BadLink, Base, Target

MAX_FILES = 500_000

_TOLD = 20
_REMEMBERED = 1024


class Shelf:
    """Takes files as they are found; `files` are those that may be offered, in order.

    `lost` counts what was left out, and `dropped` says why, a line each for the first twenty.
    """

    def __init__(self, base: Base, linker: Linker) -> None:
        self.base = base
        self.lost = 0
        self._linker = linker
        self._sources: dict[str, str] = {}  # of an origin's links, so that they need not be worked out for each file
        self._files: dict[str, File] = {}
        self._dropped: list[str] = []

    @property
    def files(self) -> tuple[File, ...]:
        return tuple(self._files.values())

    @property
    def dropped(self) -> tuple[str, ...]:
        rest = self.lost - len(self._dropped)
        return (*self._dropped, f"and {rest} more") if rest else tuple(self._dropped)

    def drop(self, name: str, why: str) -> None:
        self.lost += 1
        if len(self._dropped) < _TOLD:
            self._dropped.append(f"{printable(name)}: {why}")

    def place(self, filename: str, target: Target, hashes: Hashes) -> tuple[Filename, str] | None:
        """The name and the link of a file that may be offered, so that the caller makes it and puts it; else drops it.

        Raises PageUnreadable where the page has more files than any page may.
        """
        try:
            name = as_filename(filename)
        except BadName:
            self.drop(filename, "not a file name")
            return None
        if not name.endswith((".whl", ".tar.gz")) and package_type(name) is None:
            self.drop(filename, "not a distribution's name")
            return None
        source = self.source(target)
        if source is None:
            self.drop(filename, "lies on a host that may not be linked")
            return None
        first = self._files.get(name)
        if first is not None:
            if not _same(first, target.url, hashes):
                self.drop(filename, "another file of this name stands before it")
            return None
        if len(self._files) >= MAX_FILES:
            raise PageUnreadable(f"it has more than {MAX_FILES} files")
        return name, source + linked(target.path)

    def put(self, file: File) -> None:
        """Keeps a file that `place` has just let through."""
        self._files[file.filename] = file

    def source(self, target: Target) -> str | None:
        """What the links to that origin begin with; None where its files may not be linked."""
        known = self._sources.get(target.origin)
        return self._source(target) if known is None else known

    def _source(self, target: Target) -> str | None:
        link = self._linker(target.url)
        if link is None:
            return None
        if len(self._sources) >= _REMEMBERED:
            self._sources.clear()
        source = self._sources[target.origin] = link.removesuffix(linked(target.path))
        return source

    def provenance(self, raw: str) -> str | None:
        """PEP 740's URL, where it may be asked."""
        try:
            url = self.base.resolve(raw).url
        except BadLink:
            return None
        return None if self._linker(url) is None else url


def _same(first: File, url: str, hashes: Hashes) -> bool:
    """Whether a second entry of one name is the first one again."""
    shared = first.hashes.keys() & hashes.keys()
    if not shared:
        return first.url == url
    return all(first.hashes[algorithm] == hashes[algorithm] for algorithm in shared)
