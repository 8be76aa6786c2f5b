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
from pyproxy.index.made_pages import MadePages
from pyproxy.index.protocol import Details, FileRef, Index, Names, OfferedFile, Served
from pyproxy.instants import as_uploaded
from pyproxy.json_api import read_told
from pyproxy.model import File, ProjectName, ProjectPage

log = logging.getLogger(__name__)

ASKED = 10_000
"""Projects of which it is remembered that their times were asked for."""

AGAIN = 60.0
"""Seconds after which times that could not be asked for are asked for again, at the latest."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Until when (seconds since the epoch) an answer is believed. `failed`: there was none."""

    until: float
    failed: bool


class TimedIndex:
    """An index whose pages tell when files were uploaded, as far as that can be known."""

    def __init__(self, index: Index, *, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._executor = executor
        self._clock = clock
        self._made = MadePages()
        self._asked: OrderedDict[ProjectName, _Asked] = OrderedDict()

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
        timed, asked = self._made.get(self, project, page), self._asked.get(project)
        if timed is None or asked is None or self._clock() >= asked.until:
            timed, asked = await self._ask(project, page, timed)
        # Nobody may keep a page from which files are missing because nobody could be asked for their times.
        fresh_for = 0.0 if asked.failed else min(served.fresh_for, max(0.0, asked.until - self._clock()))
        return Served(timed, served.result, fresh_for)

    async def _ask(
        self, project: ProjectName, page: ProjectPage, before: ProjectPage | None
    ) -> tuple[ProjectPage, _Asked]:
        timed, good_for, failed = page, AGAIN, False
        try:
            served = await self._index.details(project, None)
        except (RemoteFailed, NotCached, NotThere) as exc:
            log.warning("the upload times of %s are not known, so files are missing from its past: %s", project, exc)
            failed = True
        else:
            good_for = max(AGAIN, served.fresh_for)
            if (document := served.value.document) is not None:
                loop = asyncio.get_running_loop()
                timed = await loop.run_in_executor(self._executor, partial(_with_times, page, document.body))
        if before is not None and before == timed:
            timed = before  # the same object as long as nothing in it has changed
        asked = _Asked(self._clock() + good_for, failed)
        self._made.put(self, timed, page)
        self._asked[project] = asked
        self._asked.move_to_end(project)
        while len(self._asked) > ASKED:
            self._asked.popitem(last=False)
        return timed, asked


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
