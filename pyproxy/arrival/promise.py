"""What is promised of a download, what it turned out to be, and where its bytes come from and go to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pyproxy.digests import checkable
from pyproxy.model import Hashes, Sha256
from pyproxy.storage.temps import Temp
from pyproxy.upstream import FileStream


@dataclass(frozen=True, slots=True)
class Promise:
    """What the page says of the bytes to come."""

    hashes: Hashes
    size: int | None = None

    @property
    def algorithm(self) -> str | None:
        """By which the body is checked; None where the page gives no digest that can be."""
        return checkable(self.hashes)


@dataclass(frozen=True, slots=True)
class Landed:
    """What a verified body turned out to be. `verified` is the algorithm that agreed, or "framing"."""

    digest: Sha256
    size: int
    verified: str


class Room(Protocol):
    """A reservation in the cache: bytes that may be written."""

    async def grow(self, nbytes: int) -> None:
        """Raises StoreFull."""

    def release(self) -> None:
        """Does nothing once the room was kept or released."""


class Store(Protocol):
    """Where the bytes go: into temps, which take room also where they will not be kept."""

    def temp(self) -> Temp:
        """Raises StoreTrouble."""

    async def reserve(self, nbytes: int) -> Room:
        """Raises StoreFull."""

    async def keep(self, temp: Temp, landed: Landed, room: Room) -> None:
        """Raises StoreTrouble."""

    async def put(self, body: bytes, landed: Landed, room: Room) -> None:
        """The same for a body that was in no temp. Raises StoreTrouble."""


Open = Callable[[int, str | None], AbstractAsyncContextManager[FileStream]]
"""Opens the body at an offset, on condition of a validator (If-Range)."""
