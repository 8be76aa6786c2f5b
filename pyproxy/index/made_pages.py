"""Pages made of other pages, kept while those are the same objects: so what was rendered of them serves on."""

from __future__ import annotations

from collections import OrderedDict

from pyproxy.model import ProjectName, ProjectPage

CAPACITY = 40_000
"""Files on the pages that others were made of; about 1 KiB of memory each, for whoever keeps a page keeps its files."""


class MadePages:
    """Those used last, of one index or of many: `owner` says whose. Owned by the event loop."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._kept: OrderedDict[tuple[object, ProjectName], tuple[tuple[ProjectPage, ...], ProjectPage]] = OrderedDict()
        self._capacity = capacity
        self._files = 0

    def get(self, owner: object, project: ProjectName, *sources: ProjectPage) -> ProjectPage | None:
        """What was made of just these pages."""
        kept = self._kept.get((owner, project))
        if kept is None or len(kept[0]) != len(sources):
            return None
        if any(one is not other for one, other in zip(kept[0], sources, strict=True)):
            return None
        self._kept.move_to_end((owner, project))
        return kept[1]

    def sources(self, owner: object, project: ProjectName) -> tuple[ProjectPage, ...]:
        """The pages that the one kept was made of."""
        kept = self._kept.get((owner, project))
        return () if kept is None else kept[0]

    def put(self, owner: object, made: ProjectPage, *sources: ProjectPage) -> None:
        """Keeps the page in place of what was made of earlier ones."""
        key = owner, made.name
        if (old := self._kept.pop(key, None)) is not None:
            self._files -= _weight(old[0])
        self._kept[key] = sources, made
        self._files += _weight(sources)
        while self._files > self._capacity and len(self._kept) > 1:
            _, (gone, _) = self._kept.popitem(last=False)
            self._files -= _weight(gone)


def _weight(pages: tuple[ProjectPage, ...]) -> int:
    return 1 + sum(len(page.files) for page in pages)
