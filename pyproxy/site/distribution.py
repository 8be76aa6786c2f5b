"""What a configuration serves at one base path, and of which layers it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from pyproxy.auth import Guard
from pyproxy.config import Merge
from pyproxy.index.filtered import FilteredIndex
from pyproxy.index.local import LocalIndex
from pyproxy.index.protocol import Index
from pyproxy.index.snapshot import SnapshotIndex
from pyproxy.model import File, Filename, ProjectName


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A remote as one distribution has it: all of it, and that less what its filters hide, where it has any."""

    name: str
    index: Index
    filtered: FilteredIndex | None


@dataclass(frozen=True, slots=True)
class Layers:
    """What the index of a distribution is made of, for who explains it. `filtered` is the outermost."""

    remotes: tuple[RemoteLayer, ...]
    local: LocalIndex | None
    private: Callable[[ProjectName], bool]
    index: Index
    filtered: FilteredIndex | None

    @property
    def filters(self) -> Iterator[FilteredIndex]:
        """From the outermost inwards."""
        yield from filter(None, (self.filtered, *(remote.filtered for remote in self.remotes)))

    def refuse(self, project: ProjectName) -> None:
        """Raises Withheld where a filter keeps back by its name a project that is said to be unknown."""
        for filtered in self.filters:
            filtered.refuse(project)

    def left_out(self, project: ProjectName, filename: Filename) -> File | None:
        """A file of this name that some layer left out of the page of the project that was given last.

        Whether it really is withheld tells who asks for it by its link.
        """
        then = (remote.index for remote in self.remotes if isinstance(remote.index, SnapshotIndex))
        layers: Iterator[FilteredIndex | SnapshotIndex] = chain(self.filters, then)
        return next((file for it in layers if (file := it.left_out(project, filename)) is not None), None)

    async def close(self) -> None:
        for filtered in self.filters:
            await filtered.close()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A named index at its base path."""

    name: str
    base_path: str
    layers: Layers
    remotes: tuple[str, ...]
    labels: Mapping[str, str]
    hidden: bool
    default: bool
    repository: str | None = None
    pinned: int | None = None
    """The version of the repository that is shown; None: the latest."""
    allow_uploads: bool = False
    merge: Merge = "ahead"
    guard: Guard | None = None
    guard_name: str | None = None

    @property
    def index(self) -> Index:
        """What answers its questions."""
        return self.layers.index

    @property
    def always_asks(self) -> bool:
        """An upload must be seen at once, so clients have to ask each time."""
        return self.repository is not None and self.pinned is None

    @property
    def takes_uploads(self) -> bool:
        """Whether it has a place for uploads. Who may, its guard says."""
        return self.allow_uploads and self.repository is not None and self.pinned is None

    @property
    def is_guarded(self) -> bool:
        """Whether not everybody may read it."""
        return self.guard is not None and self.guard.rights.read is not None
