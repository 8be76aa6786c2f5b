"""Upload times for the files of a remote whose pages tell none: taken from its JSON API, where it has one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import msgspec

from pyproxy.errors import NotCached, NotThere, RemoteFailed
from pyproxy.index.protocol import Details, FileRef, Index, Names, OfferedFile, Served
from pyproxy.instants import as_uploaded
from pyproxy.json_api import read_told
from pyproxy.model import File, ProjectName, ProjectPage

log = logging.getLogger(__name__)

PAGES = 200
"""Pages kept with the times that were found for them."""

AGAIN = 60.0
"""Seconds after which times that could not be asked for are asked for again, at the latest."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """A page, the same with times, and until when (seconds since the epoch) that is believed."""

    page: ProjectPage
    timed: ProjectPage
    until: float


class TimedIndex:
    """An index whose pages tell when files were uploaded, as far as that can be known."""

    def __init__(self, index: Index, *, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._executor = executor
        self._clock = clock
        self._kept: OrderedDict[ProjectName, _Timed] = OrderedDict()

    async def projects(self) -> Served[Mapping[str, Names]]:
        return await self._index.projects()

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        return await self._index.details(project, version)

    async def file(self, ref: FileRef) -> OfferedFile:
        return await self._index.file(ref)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        served = await self._index.page(project)
        page = served.value
        if all(file.upload_time for file in page.files):
            return served
        kept = self._kept.get(project)
        if kept is None or kept.page is not page or self._clock() >= kept.until:
            kept = await self._ask(project, page, kept)
        return Served(kept.timed, served.result, min(served.fresh_for, max(0.0, kept.until - self._clock())))

    async def _ask(self, project: ProjectName, page: ProjectPage, kept: _Timed | None) -> _Timed:
        timed, good_for = page, AGAIN
        try:
            served = await self._index.details(project, None)
        except (RemoteFailed, NotCached, NotThere) as exc:
            log.info("the upload times of %s are not known: %s", project, exc)
        else:
            good_for = max(AGAIN, served.fresh_for)
            if (document := served.value.document) is not None:
                loop = asyncio.get_running_loop()
                timed = await loop.run_in_executor(self._executor, partial(_with_times, page, document.body))
        if kept is not None and kept.timed == timed:
            timed = kept.timed  # the same object as long as nothing in it has changed
        found = _Timed(page, timed, self._clock() + good_for)
        self._kept[project] = found
        self._kept.move_to_end(project)
        while len(self._kept) > PAGES:
            self._kept.popitem(last=False)
        return found


def _with_times(page: ProjectPage, document: bytes) -> ProjectPage:
    """The page with the times that the document tells of files with the same digest."""
    told = read_told(document).files
    files = tuple(
        file if file.upload_time else msgspec.structs.replace(file, upload_time=_told(file, told.get(file.filename)))
        for file in page.files
    )
    return msgspec.structs.replace(page, files=files)


def _told(file: File, entry: Mapping[str, object] | None) -> str | None:
    if entry is None:
        return None
    digests, uploaded = entry.get("digests"), entry.get("upload_time_iso_8601")
    same = isinstance(digests, dict) and any(digests.get(name) == digest for name, digest in file.hashes.items())
    return uploaded if same and isinstance(uploaded, str) and as_uploaded(uploaded) is not None else None
