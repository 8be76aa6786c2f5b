"""Project lists as files of bytes: rendered once for each set of names, in another process, and kept on disk."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, get_args

from pyproxy.encoding import Coding
from pyproxy.errors import PageUnreadable, StoreTrouble
from pyproxy.index.protocol import Names
from pyproxy.listing import body_in, render_list
from pyproxy.simple_api import Kind
from pyproxy.singleflight import Flights

log = logging.getLogger(__name__)

KEPT = 8
"""Rendered lists kept on disk; each takes about twice what its remotes' lists take."""

FORMAT = "1"
"""Of the bodies. To be changed when the same names are written otherwise, so that no older rendering is served."""

_PREFIX = "rendered-"
_RENDERED = re.compile(rf"{_PREFIX}[0-9a-f]{{32}}")
_PART = ".part-"  # in the name of whatever is half made or half removed
_numbers = itertools.count()


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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._flights: Flights[str, RenderedNames] = Flights()

    async def get(self, lists: Mapping[str, Names], *, patience: float) -> RenderedNames:
        """The union of these lists, the spelling of the first that has a name.

        Raises StoreTrouble, also where that takes more than `patience` seconds; the rendering then goes on.
        """
        made_of = "\n".join([FORMAT, *(names.digest for names in lists.values())])
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:32]
        try:
            return await self._flights.wait(
                digest, lambda: self._rendered(digest, [names.path for names in lists.values()]), patience=patience
            )
        except TimeoutError:
            raise StoreTrouble("the list of projects is still being rendered") from None

    async def close(self) -> None:
        await self._flights.close()

    async def _rendered(self, digest: str, names: list[Path]) -> RenderedNames:
        folder = self._folder / f"{_PREFIX}{digest}"
        if _complete(folder):
            with suppress(OSError):  # its time of use alone: a list is served from a disk that takes no writes, too
                os.utime(folder)
            return RenderedNames(folder, digest)
        await asyncio.to_thread(_remove, folder)
        try:
            await render_list(names, folder)
        except PageUnreadable as exc:
            raise StoreTrouble(str(exc)) from exc
        await asyncio.to_thread(self._sweep, folder)
        return RenderedNames(folder, digest)

    def _sweep(self, newest: Path) -> None:
        """Takes away the lists that were used longest ago. An answer that still reads one has it open."""
        found = [path for path in self._folder.iterdir() if _RENDERED.fullmatch(path.name) and path != newest]
        with suppress(FileNotFoundError):  # another process sweeps too
            found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in found[KEPT - 1 :]:
            _remove(old)


def sweep(folder: Path, remotes: Collection[str]) -> None:
    """Removes what a daemon that was killed left half made, and the lists of remotes that are no more.

    Blocking. For the start of a daemon that has the store to itself.
    """
    kept = re.compile(rf"(?:{'|'.join(map(re.escape, remotes))})\.[0-9a-f]+\.names")
    try:
        found = list(folder.iterdir())
    except OSError as exc:
        log.warning("old lists of projects stay where they are: %s", exc.strerror)
        return
    for path in found:
        name = path.name
        if (
            _PART in name
            or name.endswith((".raw", ".parsed"))
            or (name.endswith(".names") and not kept.fullmatch(name))
            or (_RENDERED.fullmatch(name) and not _complete(path))
        ):
            _remove(path)


def _complete(folder: Path) -> bool:
    return all(body_in(folder, kind, coding).is_file() for kind in Kind for coding in get_args(Coding))


def _remove(path: Path) -> None:
    """Out of the way at once, then bit by bit: a folder under its own name is always whole."""
    aside = path.with_name(f"{path.name}{_PART}{os.getpid()}-{next(_numbers)}")
    try:
        path.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    except FileNotFoundError:
        pass  # it was not there, or another process sweeps too
    except OSError as exc:
        log.warning("an old list of projects stays where it is: %s", exc.strerror)
