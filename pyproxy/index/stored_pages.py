"""The pages of one remote as the store has them: read in one piece, written behind and in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

import msgspec

from pyproxy.errors import BlobDamaged, StoreTrouble
from pyproxy.fellows import Changes
from pyproxy.index.shelf import Held
from pyproxy.model import ProjectName
from pyproxy.storage.records import Learned, PageHead, Records, pack_page, unpack_page

log = logging.getLogger(__name__)
T = TypeVar("T")

OFF_LOOP = 64 * 1024
"""Bytes of a page from which on it is parsed in a thread: 64 KiB take 0.3 ms, a hop 0.1 ms."""


class StoredPages:
    """Nobody waits for the disk: what is lost with the process can be asked for again.

    The writes of one project go one after the other. `origin` is as CachedIndex has it.
    """

    def __init__(self, records: Records, *, name: str, origin: str, executor: Executor, changes: Changes) -> None:
        self._records = records
        self._changes = changes
        self._name = name
        self._origin = origin
        self._executor = executor
        self._writing: dict[ProjectName, asyncio.Task[None]] = {}
        """The last write of each project that has one under way; it waits for those before it."""

    async def load(self, project: ProjectName) -> Held | None:
        """The page as stored. One that is damaged is dropped, to be fetched again."""
        stored = self._records.page(self._name, project)
        if stored is None or stored[0].url != self._origin:
            return None
        head, body = stored
        try:
            page = await off_loop(self._executor, lambda: unpack_page(body), size=len(body) * 4)
        except BlobDamaged as exc:
            log.warning("the page of %s from remote %s is fetched again: %s", project, self._name, exc)
            await self._drop(project, version=head.version)
            return None
        return Held(head, page, page, learned=0)

    def head(self, project: ProjectName) -> PageHead | None:
        """What is stored of the page beside its contents. Raises StoreTrouble."""
        head = self._records.page_head(self._name, project)
        return None if head is None or head.url != self._origin else head

    def is_writing(self, project: ProjectName) -> bool:
        """Whether a write of this process is under way, so that what is stored is not the last word."""
        return project in self._writing

    def learned(self, project: ProjectName) -> Learned:
        return self._records.learned(self._name, project)

    def keep(self, project: ProjectName, held: Held) -> None:
        """Stores the page, or its new head alone where its body is stored already."""
        self._behind(project, lambda: self._write(project, held), "was served but not kept")

    async def forget(self, project: ProjectName) -> None:
        """Drops the page, after all that is being written of it. Waited for, so that nobody finds it there later."""
        await self._drop(project)

    def then(self, project: ProjectName, call: Callable[[], None]) -> None:
        """Calls once all that was kept of the project until now is written, or could not be."""
        writing = self._writing.get(project)
        if writing is None:
            call()
        else:
            writing.add_done_callback(lambda _: call())

    async def settled(self) -> None:
        """Returns once all is written."""
        while self._writing:
            await asyncio.wait(self._writing.values())

    async def _write(self, project: ProjectName, held: Held) -> None:
        # Read when its turn has come: the write before may have stored the body, a later 304 changed the head.
        head, body = held.head, None
        if not head.version:
            body = await self._packed(held)
        stored = await self._records.put_page(self._name, project, head, body)
        if body is None and (stored is None or stored.version != head.version):
            # Another body has been stored since, or none is any more: the head is not about that one.
            stored = await self._records.put_page(self._name, project, head, await self._packed(held))
        self._changes.note()
        if stored is not None:
            held.head = msgspec.structs.replace(held.head, version=stored.version)

    async def _packed(self, held: Held) -> bytes:
        return await off_loop(self._executor, lambda: pack_page(held.raw), size=len(held.raw.files) * 400)

    async def _drop(self, project: ProjectName, *, version: int | None = None) -> None:
        """Drops the page; with a `version`, only if its body is still of that."""

        async def drop() -> None:
            head = self._records.page_head(self._name, project)
            if head is not None and version in (None, head.version):
                await self._records.drop_page(self._name, project)
                self._changes.note()

        # Not cancelled with who waits: the write after it relies on its order.
        await asyncio.wait([self._behind(project, drop, "is out of date and stays stored")])

    def _behind(self, project: ProjectName, write: Callable[[], Awaitable[None]], failed: str) -> asyncio.Task[None]:
        before = self._writing.get(project)

        async def run() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await write()
            except StoreTrouble as exc:
                log.warning("the page of %s from remote %s %s: %s", project, self._name, failed, exc)

        def done(task: asyncio.Task[None]) -> None:
            if self._writing.get(project) is task:
                del self._writing[project]
            if not task.cancelled() and (exc := task.exception()) is not None:
                log.error("unexpected trouble with the page of %s", project, exc_info=exc)

        task = asyncio.create_task(run())
        self._writing[project] = task
        task.add_done_callback(done)
        return task


async def off_loop(executor: Executor, call: Callable[[], T], *, size: int) -> T:
    """Runs the call, in a thread where it is about many bytes."""
    if size < OFF_LOOP:
        return call()
    return await asyncio.get_running_loop().run_in_executor(executor, call)
