"""What `pyproxy warm` does: fetches the files that are wanted of a distribution into the cache, ahead of need.

It builds the distribution's index in a process of its own, over the same store, as other commands do beside the
daemon: whatever the daemon listens on and whoever may read from it, what is fetched here is there for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import HeaderParser
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec
from packaging.version import Version

from pyproxy.beside import beside
from pyproxy.config import Config
from pyproxy.errors import FileUnknown, NotCached, PyproxyError, StoreTrouble
from pyproxy.index.protocol import FileRef, Index, OfferedFile
from pyproxy.model import File, ProjectName, ProjectPage
from pyproxy.progress import Progress
from pyproxy.units import as_size
from pyproxy.wanted import Ask, Named, Python, Release, Wishes, chosen, dependencies, fits, named_on

AT_ONCE: Final = 8
"""Downloads under way."""

ASKED_AT_ONCE: Final = 16
"""Pages and metadata asked for: more would wait for a connection, and a page is waited for some seconds only."""

DEPENDENCIES: Final = 2000
"""Releases reached by what others depend on, at most."""


@dataclass(slots=True)
class Outcome:
    """What came of it. Written by the one `Warming` that gives it."""

    fetched: int = 0
    nbytes: int = 0
    already: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """By file or requirement, why it is not there."""
    notes: list[str] = field(default_factory=list)


async def warm(
    config: Config,
    name: str,
    wishes: Wishes,
    *,
    only: tuple[str, ...] = (),
    pythons: tuple[Python, ...] = (None,),
    deps: bool = True,
    watch: Callable[[Callable[[], Progress]], Any],  # Any: a context manager around the work
) -> Outcome:
    """Fetches what is wanted of the distribution `name` by any of the `pythons`. Raises StoreTrouble.

    Never stops at what fails.
    """
    async with beside(config, threads=AT_ONCE) as site:
        distribution = next(one for one in site.distributions.values() if one.name == name)
        warming = _Warming(config, distribution.index, set(distribution.remotes), only, pythons, deps=deps)
        async with watch(warming.progress):
            await warming.run(wishes)
        return warming.outcome


class _Warming:
    """One run over one distribution. All of it on the loop."""

    def __init__(
        self,
        config: Config,
        index: Index,
        remotes: set[str],
        only: tuple[str, ...],
        pythons: tuple[Python, ...],
        *,
        deps: bool,
    ) -> None:
        self.outcome = Outcome()
        self._index = index
        self._limit = config.storage.max_cache_size
        self._streamed = {name for name in remotes if config.remotes[name].policy == "streamed"}
        self._foreign = {_plain(r.url) for r in config.remotes.values() if r.name not in remotes} - {
            _plain(config.remotes[name].url) for name in remotes
        }
        self._only = only
        self._pythons = pythons
        self._deps = deps
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._files: dict[str, asyncio.Task[None]] = {}  # by link
        self._unmet: dict[Ask, list[Python]] = {}  # for which Pythons no release fits
        self._stored: dict[str, tuple[File, OfferedFile]] = {}  # those that are there, by link
        self._arriving: dict[str, Callable[[], int]] = {}  # by link, how much has come
        self._releases: dict[tuple[ProjectName, Python], list[Release]] = {}
        self._followed: set[tuple[ProjectName, Version, frozenset[str], Python]] = set()

    def progress(self) -> Progress:
        done = sum(task.done() for task in self._files.values())
        under_way = sum(arrived() for arrived in self._arriving.values())
        return Progress(done, len(self._files), self.outcome.nbytes + under_way)

    async def run(self, wishes: Wishes) -> None:
        self.outcome.notes += wishes.notes
        await asyncio.gather(*(self._named(named) for named in wishes.named))
        asks = [(wishes.constrained(ask), python) for ask in wishes.asks for python in self._pythons]
        while asks:  # what was asked for first: what it depends on is mostly among it
            found = await asyncio.gather(*(self._release(ask, python) for ask, python in asks))
            pythons = [python for _, python in asks]
            more = [(wishes.constrained(ask), it) for it, these in zip(pythons, found, strict=True) for ask in these]
            asks = list(dict.fromkeys(more))
        self._tell_unmet()
        await asyncio.gather(*self._files.values())
        await self._still_there()

    # ------------------------------------------------------------------ which files

    async def _named(self, named: Named) -> None:
        if named.index is not None and _plain(named.index) in self._foreign:
            self._note(f"{named.where}: is of another index; passed over")
            return
        page = await self._page(named.project, named.filename)
        if page is None:
            return
        found = named_on(page, named)
        if isinstance(found, str):
            self.outcome.failed[named.filename] = found
        else:
            self._want(found)

    async def _release(self, ask: Ask, python: Python) -> list[Ask]:
        """Sees to it that the release is fetched; what it depends on."""
        known = self._releases.setdefault((ask.project, python), [])
        release = next((one for one in known if not ask.hashes and fits(one, ask)), None)
        if release is None:
            page = await self._page(ask.project, str(ask), ask)
            if page is None:
                return []
            # The newest release that has such files: one that dropped an old Python is not what is meant.
            release = chosen(
                msgspec.structs.replace(page, files=tuple(filter(self._is_wanted, page.files))), ask, python
            )
            if release is None:
                self._unmet.setdefault(ask, []).append(python)
                return []
            known.append(release)
        for file in release.files:
            self._want(file)
        if not self._deps or ask.alone:
            return []
        return await self._dependencies(ask, release, python)

    def _tell_unmet(self) -> None:
        """Of an ask that was met for another Python this one was perhaps never meant."""
        for ask, pythons in self._unmet.items():
            if len(pythons) == len(self._pythons) or None in pythons:
                self.outcome.failed[str(ask)] = _wanted_by("no release of it fits", ask)
            else:
                self._note(f"{ask}: no release of it fits Python {', '.join(map(str, pythons))}")

    async def _dependencies(self, ask: Ask, release: Release, python: Python) -> list[Ask]:
        step = (ask.project, release.version, ask.extras, python)
        wheel = next((file for file in release.files if file.is_wheel), None)
        if step in self._followed or wheel is None or len(self._followed) >= DEPENDENCIES:
            return []
        self._followed.add(step)
        try:
            async with self._asking:
                body = await self._metadata(await self._offered(wheel))
        except PyproxyError as exc:
            self.outcome.failed[str(ask)] = f"what it depends on is not known: {exc}"
            return []
        fields = HeaderParser().parsestr(body.decode(errors="replace"))
        return dependencies(fields.get_all("Requires-Dist", []), ask, release.version, python)

    async def _page(self, project: ProjectName, what: str, ask: Ask | None = None) -> ProjectPage | None:
        try:
            async with self._asking:
                return (await self._index.page(project)).value
        except PyproxyError as exc:
            self.outcome.failed[what] = str(exc) if ask is None else _wanted_by(str(exc), ask)
            return None

    def _is_wanted(self, file: File) -> bool:
        return not self._only or any(fnmatchcase(file.filename, glob) for glob in self._only)

    # ------------------------------------------------------------------ fetching

    def _want(self, file: File) -> None:
        if file.link not in self._files and self._is_wanted(file):
            self._files[file.link] = asyncio.create_task(self._fetch(file))

    async def _fetch(self, file: File) -> None:
        async with self._slots:
            try:
                await self._archive(file)
                if file.is_wheel or file.core_metadata:
                    await self._metadata(await self._offered(file))
            except FileUnknown as exc:
                if file.link not in self._stored:  # a wheel without metadata is fetched all the same
                    self.outcome.failed[file.filename] = str(exc)
            except PyproxyError as exc:
                self.outcome.failed[file.filename] = str(exc)

    async def _offered(self, file: File) -> OfferedFile:
        return await self._index.file(FileRef.from_link(file.link, file.filename))

    async def _archive(self, file: File) -> None:
        remote = file.link.partition("/")[0].partition("~")[0]
        if remote in self._streamed:
            raise NotCached(f"remote {remote} is streamed: no file of it is ever kept")
        offered = await self._offered(file)
        content = await offered.archive()
        if content.blob is not None:
            content.blob.close()
        if content.arrival is None:
            self.outcome.already += 1
            self._stored[file.link] = file, offered
            return
        arrival = content.arrival
        self._arriving[file.link] = lambda: arrival.arrived
        try:
            await arrival.over()
            landed = await arrival.whole()
        finally:
            del self._arriving[file.link]
        if not (await offered.facts(size=False)).stored:
            raise StoreTrouble("it came and was not kept: there is no room for it")
        self.outcome.fetched += 1
        self.outcome.nbytes += landed.size
        self._stored[file.link] = file, offered

    async def _metadata(self, offered: OfferedFile) -> bytes:
        """Fetches core metadata, so that it is stored too."""
        content = await offered.metadata()
        if content.blob is not None:
            try:
                return os.pread(content.blob.fd, content.blob.size, 0)
            finally:
                content.blob.close()
        return content.body or b""

    async def _still_there(self) -> None:
        """A cache that is too small gives up the first for the last."""
        gone = f"given up again for others: the cache holds {as_size(self._limit)}"
        for file, offered in self._stored.values():
            if not (await offered.facts(size=False)).stored:
                self.outcome.failed.setdefault(file.filename, gone)

    def _note(self, note: str) -> None:
        if note not in self.outcome.notes:
            self.outcome.notes.append(note)


def _plain(url: str) -> str:
    """An index URL without what may differ in two spellings of it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{rest.rpartition('@')[2].rstrip('/')}"


def _wanted_by(why: str, ask: Ask) -> str:
    return f"{why} (wanted by {ask.where})" if ask.where else why
