"""The pages of one remote as the store has them: read in one piece, written behind and in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TypeVar

import msgspec

from pyproxy.errors import BlobDamaged, StoreTrouble
from pyproxy.fellows import Changes
from pyproxy.index.shelf import Held
from pyproxy.model import ProjectName
from pyproxy.storage.records import Learned, PageHead, Records, pack_page, unpack_page
from pyproxy.storage.writer import Unfinished

log = logging.getLogger(__name__)
T = TypeVar("T")

OFF_LOOP = 64 * 1024
"""Bytes of a page from which on it is parsed in a thread: 64 KiB take 0.3 ms, a hop 0.1 ms."""

PAUSE = 0.002
PAUSE_PER_FILE = 5e-6
"""Seconds that a page is not written after it came: who waits for it is answered meanwhile, and the writing would slow
that down by half. What comes together is written together."""

RUSH = 0.05
"""Seconds for which pages wait at most while others are still being fetched, for whom the same holds."""

_LOOK = 0.01
"""Seconds between two looks at whether they are."""


class _Due:
    """A page to be written. `then` is called once it is, or could not be. `outdated`: nobody wants it in the store."""

    __slots__ = ("held", "outdated", "then")

    def __init__(self, held: Held) -> None:
        self.held = held
        self.outdated = False
        self.then: list[Callable[[], None]] = []

    def done(self) -> None:
        for call in self.then:
            asyncio.get_running_loop().call_soon(call)  # one that fails does not keep the others from theirs


class StoredPages:
    """Nobody waits for the disk: what is lost with the process can be asked for again.

    The writes of one project go one after the other. `origin` is as CachedIndex has it; `fetching` tells whether
    somebody waits for a page of this remote.
    """

    def __init__(
        self,
        records: Records,
        *,
        name: str,
        origin: str,
        executor: Executor,
        changes: Changes,
        fetching: Callable[[], bool] = lambda: False,
    ) -> None:
        self._records = records
        self._changes = changes
        self._fetching = fetching
        self._name = name
        self._origin = origin
        self._executor = executor
        self._due: dict[ProjectName, _Due] = {}
        """What the next batch will be; what comes for a project once more takes the place of what was there."""
        self._under_way: dict[ProjectName, _Due] = {}
        """The batch that is being written."""
        self._pause: asyncio.TimerHandle | None = None
        """Until the next batch is written. A timer, as a task would take a turn of the loop before the answer."""
        self._since = 0.0
        """When the first page of that batch came, by the loop's clock."""
        self._writing: asyncio.Task[None] | None = None
        """Writes a batch."""
        self._dropping: set[asyncio.Task[None]] = set()

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
        """Whether a write of this process is due or under way, so that what is stored is not the last word."""
        return project in self._due or project in self._under_way

    def learned(self, project: ProjectName) -> Learned:
        return self._records.learned(self._name, project)

    def keep(self, project: ProjectName, held: Held) -> None:
        """Stores the page, or its new head alone where its body is stored already."""
        if (due := self._due.get(project)) is not None:
            due.held = held
            return
        self._due[project] = _Due(held)
        if self._writing is None and self._pause is None:
            self._begin_pause()

    async def forget(self, project: ProjectName) -> None:
        """Drops the page, after all that is being written of it. Waited for, so that nobody finds it there later."""
        if (due := self._due.pop(project, None)) is not None:
            due.done()
        if (due := self._under_way.get(project)) is not None:
            due.outdated = True
        await self._drop(project)

    def then(self, project: ProjectName, call: Callable[[], None]) -> None:
        """Calls once all that was kept of the project until now is written, or could not be."""
        due = self._due.get(project) or self._under_way.get(project)
        if due is None:
            call()
        else:
            due.then.append(call)

    async def settled(self) -> None:
        """Returns once all is written."""
        while True:
            if self._pause is not None:
                self._pause.cancel()
                self._begin()
            waiting = {*self._dropping, *([self._writing] if self._writing is not None else [])}
            if not waiting:
                return
            await asyncio.wait(waiting)

    # ------------------------------------------------------------------ writing

    def _begin_pause(self) -> None:
        if self._changes.shared:  # fellows wait for what is written here
            self._begin()
            return
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._pause = loop.call_at(self._since + PAUSE, self._pause_on)

    def _pause_on(self) -> None:
        """Writes, unless so many pages have come that the pause is longer, or more are to come."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        files = sum(len(due.held.raw.files) for due in self._due.values())
        ends = self._since + PAUSE + files * PAUSE_PER_FILE
        if self._fetching():
            ends = max(ends, min(now + _LOOK, self._since + RUSH))
        if ends > now:
            self._pause = loop.call_at(ends, self._pause_on)
        else:
            self._begin()

    def _begin(self) -> None:
        self._pause = None
        self._writing = asyncio.create_task(self._write_due(), name=f"pages of {self._name}")

    async def _write_due(self) -> None:
        batch, self._due = self._due, {}
        self._under_way = batch
        try:
            await self._write(batch)
        except Exception:
            # The next batch is written all the same.
            log.exception("unexpected trouble with the pages of remote %s", self._name)
        finally:
            self._under_way, self._writing = {}, None
            for due in batch.values():
                due.done()
        if self._due:
            self._begin_pause()

    async def _write(self, batch: Mapping[ProjectName, _Due]) -> None:
        """All of them in one transaction; each by itself where that cannot be."""
        try:
            await self._put(batch)
        except StoreTrouble as exc:
            hangs = isinstance(exc, Unfinished)  # each by itself would wait as long
            for project, due in batch.items():
                if len(batch) > 1 and not hangs:
                    await self._write({project: due})
                else:
                    log.warning("the page of %s from remote %s was served but not kept: %s", project, self._name, exc)

    async def _put(self, batch: Mapping[ProjectName, _Due], *, whole: bool = False) -> None:
        """Raises StoreTrouble. `whole`: also bodies that should be stored already."""
        bodies = {
            project: await self._packed(due.held)
            for project, due in batch.items()
            if whole or not due.held.head.version
        }
        # Read when their turn has come: a later 304 may have changed a head.
        entries = [(project, due.held.head, bodies.get(project)) for project, due in batch.items() if not due.outdated]
        if not entries:
            return
        stored = await self._records.put_pages(self._name, entries)
        again: dict[ProjectName, _Due] = {}
        for (project, head, body), now in zip(entries, stored, strict=True):
            held = batch[project].held
            if body is None and (now is None or now.version != head.version):
                again[project] = batch[project]
            elif now is not None:
                held.head = msgspec.structs.replace(held.head, version=now.version)
        self._changes.note()
        if again:
            # Another body has been stored since, or none is any more: the head is not about that one.
            await self._put(again, whole=True)

    async def _packed(self, held: Held) -> bytes:
        return await off_loop(self._executor, lambda: pack_page(held.raw), size=len(held.raw.files) * 400)

    async def _drop(self, project: ProjectName, *, version: int | None = None) -> None:
        """Drops the page; with a `version`, only if its body is still of that."""

        async def drop() -> None:
            head = self._records.page_head(self._name, project)
            if project not in self._under_way and (head is None or version not in (None, head.version)):
                return
            await self._records.drop_page(self._name, project, version=version)
            self._changes.note()

        # Not cancelled with who waits.
        task = asyncio.create_task(drop())
        self._dropping.add(task)
        await asyncio.wait([task])
        self._dropping.discard(task)
        try:
            task.result()
        except StoreTrouble as exc:
            log.warning("the page of %s from remote %s is out of date and stays stored: %s", project, self._name, exc)


async def off_loop(executor: Executor, call: Callable[[], T], *, size: int) -> T:
    """Runs the call, in a thread where it is about many bytes."""
    if size < OFF_LOOP:
        return call()
    return await asyncio.get_running_loop().run_in_executor(executor, call)
