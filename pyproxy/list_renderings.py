"""Project lists as files of bytes: rendered once for each set of names, in another process, and kept on disk."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pyproxy.encoding import Coding
from pyproxy.errors import PageUnreadable, StoreTrouble
from pyproxy.fellows import Turns
from pyproxy.index.protocol import Names
from pyproxy.listing import body_in, render_list
from pyproxy.lists_folder import PREFIX, RENDERED, complete, remove
from pyproxy.simple_api import Kind
from pyproxy.singleflight import Flights

log = logging.getLogger(__name__)

KEPT = 8
"""Rendered lists kept on disk; each takes about twice what its remotes' lists take."""

WAIT = 90.0
"""Seconds that one worker waits for another that renders the same list."""

FORMAT = "1"
"""Of the bodies. To be changed when the same names are written otherwise, so that no older rendering is served."""


@dataclass(frozen=True, slots=True)
class RenderedNames:
    """A list in every serialisation and coding, as files in a folder."""

    folder: Path
    digest: str

    def etag(self, kind: Kind, coding: Coding) -> str:
        return f'"{self.digest}-{kind.name.lower()}-{coding}"'

    def open(self, kind: Kind, coding: Coding) -> BinaryIO:
        """Raises StoreTrouble where the file has gone."""
        try:
            return body_in(self.folder, kind, coding).open("rb")
        except OSError as exc:
            raise StoreTrouble(f"the rendered list of projects cannot be read: {exc.strerror}") from exc


class ListRenderings:
    """The rendered lists below one folder. Owned by the event loop."""

    def __init__(self, folder: Path, turns: Turns) -> None:
        self._folder = folder
        self._turns = turns
        self._flights: Flights[str, RenderedNames] = Flights()

    async def get(self, lists: Mapping[str, Names], *, patience: float) -> RenderedNames:
        """The union of these lists, the spelling of the first that has a name.

        Raises StoreTrouble, also where that takes more than `patience` seconds; the rendering then goes on.
        """
        made_of = "\n".join([FORMAT, *(names.digest for names in lists.values())])
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:32]
        try:
            return await self._flights.wait(
                digest, lambda: self._rendered(digest, list(lists.values())), patience=patience
            )
        except TimeoutError:
            raise StoreTrouble("the list of projects is still being rendered") from None

    async def close(self) -> None:
        await self._flights.close()

    async def _rendered(self, digest: str, names: list[Names]) -> RenderedNames:
        folder = self._folder / f"{PREFIX}{digest}"
        if complete(folder):
            with suppress(OSError):  # its time of use alone: a list is served from a disk that takes no writes, too
                os.utime(folder)
            return RenderedNames(folder, digest)
        try:
            turn = await self._turns.take(folder.name, until=asyncio.get_running_loop().time() + WAIT)
        except TimeoutError:
            raise StoreTrouble("the list of projects is still being rendered by another worker") from None
        try:
            if not complete(folder):
                await self._render(folder, names)
        finally:
            turn.release()
        return RenderedNames(folder, digest)

    async def _render(self, folder: Path, names: list[Names]) -> None:
        await asyncio.to_thread(remove, folder)
        try:
            await render_list([it.path for it in names], folder, sieves=[it.sieves for it in names])
        except PageUnreadable as exc:
            raise StoreTrouble(str(exc)) from exc
        await asyncio.to_thread(self._sweep, folder)

    def _sweep(self, newest: Path) -> None:
        """Takes away the lists that were used longest ago. An answer that still reads one has it open."""
        found = [path for path in self._folder.iterdir() if RENDERED.fullmatch(path.name) and path != newest]
        with suppress(FileNotFoundError):  # another process sweeps too
            found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in found[KEPT - 1 :]:
            remove(old)
