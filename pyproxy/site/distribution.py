"""What a configuration serves at one base path, and of which layers it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyproxy.auth import Guard
from pyproxy.config import Merge
from pyproxy.index.filtered import FilteredIndex
from pyproxy.index.local import LocalIndex
from pyproxy.index.protocol import Index
from pyproxy.model import ProjectName


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

    async def close(self) -> None:
        for filtered in (self.filtered, *(remote.filtered for remote in self.remotes)):
            if filtered is not None:
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
    def is_guarded(self) -> bool:
        """Whether not everybody may read it."""
        return self.guard is not None and self.guard.rights.read is not None
