"""An index of which policy shows a part: the same on the page and at the URL of each file, and the reason for the rest.

Whoever is refused by name is refused before the index behind is asked. A page is judged once: again when it is another,
or when the first of its hidden files comes of age.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec

from pyproxy.errors import NotCached, ProjectUnknown, RemoteFailed, Withheld
from pyproxy.filters import Policy, Refused, Seen, Verdicts, seen
from pyproxy.index.protocol import Details, FileRef, Index, Names, OfferedFile, Served
from pyproxy.model import File, Filename, ProjectName, ProjectPage, projects_of
from pyproxy.singleflight import Flights

T = TypeVar("T")

CAPACITY = 20_000
"""Files of the pages whose verdicts are kept; about 200 bytes of memory each."""

OFF_LOOP = 200
"""Files on a page from which on it is judged in a thread: 200 take 0.3 to 0.5 ms, a hop 0.1 ms."""


@dataclass(frozen=True)
class Judged:
    """A page as it came, what the rules say of its files, and what is left of it."""

    raw: ProjectPage
    seen: Seen
    verdicts: Verdicts
    page: ProjectPage

    def of(self, link: str) -> tuple[File, Refused | None] | None:
        """The page's file under this link, and which rule hides it; None where it has no such file."""
        at = self._by_link.get(link)
        return None if at is None else (self.raw.files[at], self.verdicts.of[at])

    @cached_property
    def _by_link(self) -> Mapping[str, int]:
        """Positions, of two files under one link the first. Made when it is first asked for: few policies need it."""
        return {file.link: at for at, file in reversed(tuple(enumerate(self.raw.files)))}


class FilteredIndex:
    """`place` is what messages call whose policy it is; `hidden` is told how many files a rule hides, once for a page.

    Mutable state is the event loop's alone.
    """

    def __init__(
        self,
        inner: Index,
        policy: Policy,
        *,
        place: str,
        executor: Executor,
        hidden: Callable[[str, int], None],
        clock: Callable[[], float] = time.time,
        capacity: int = CAPACITY,
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._place = place
        self._executor = executor
        self._hidden = hidden
        self._clock = clock
        self._capacity = capacity
        self._judged: OrderedDict[ProjectName, Judged] = OrderedDict()
        self._files = 0  # on the pages kept
        self._flights: Flights[tuple[ProjectName, int], Judged] = Flights()

    @property
    def policy(self) -> Policy:
        return self._policy

    async def projects(self) -> Served[Mapping[str, Names]]:
        """The lists as they are, and what is to be left out of them by name."""
        served = await self._inner.projects()
        sieve = self._policy.sieve
        if sieve is None:
            return served
        lists = {keeper: names.sifted(sieve) for keeper, names in served.value.items()}
        return Served(lists, served.result, served.fresh_for)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        self._admit(project)
        served = await self._inner.page(project)
        judged = await self.judged(project, served.value)
        left = judged.verdicts.until - self._clock()
        # What is stale stays stale; else a page ends when its next file comes of age, and is fresh until then.
        return Served(judged.page, served.result, min(served.fresh_for, max(left, 0.001)))

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        self._admit(project)
        return await self._inner.details(project, version)

    async def file(self, ref: FileRef) -> OfferedFile:
        refusals = [self._policy.refuses(project) for project in projects_of(ref.filename)]
        if refusals and (refused := refusals[0]) is not None and all(refusals):
            raise self._withheld(refused)
        offered = await self._inner.file(ref)
        if (refused := self._policy.refuses(offered.project) or await self._hides(offered)) is not None:
            raise self._withheld(refused)
        return offered

    async def _hides(self, offered: OfferedFile) -> Refused | None:
        """Which rule hides the file. Its page is asked only where it can tell more."""
        project, file = offered.project, offered.file
        if not self._policy.looks_at_pages:
            if (known := self._known(project, file)) is not None:
                return known[1]
            if self._alone(project, file) is None:
                return None
        # What was stored of a file that no page was known for says less than its page: no upload time, no attestations.
        try:
            page = (await self._inner.page(project)).value
        except ProjectUnknown:
            return self._alone(project, file)
        except (RemoteFailed, NotCached):
            if (refused := self._alone(project, file)) is not None:
                return refused
            raise
        found = (await self.judged(project, page)).of(file.link)
        if found is not None:
            return found[1]
        return self._alone(project, file) or await self._among(project, page, file)

    def _known(self, project: ProjectName, file: File) -> tuple[File, Refused | None] | None:
        """What was said of this very file with its page: 2 µs, while judging it by itself takes 50."""
        kept = self._judged.get(project)
        found = kept.of(file.link) if kept is not None and self._clock() < kept.verdicts.until else None
        return found if found is not None and found[0] is file else None

    def _alone(self, project: ProjectName, file: File) -> Refused | None:
        """Which rule hides the file, whatever else there is."""
        return self._verdicts(project, seen(project, [file])).of[0]

    async def _among(self, project: ProjectName, page: ProjectPage, file: File) -> Refused | None:
        """Which rule hides a file that its page no longer names, counted among those that it does."""
        files = (*page.files, file)
        verdicts = await self._run(len(files), lambda: self._verdicts(project, seen(project, files)))
        return verdicts.of[-1]

    async def close(self) -> None:
        """Ends what is being judged; nobody waits for it any more."""
        await self._flights.close()

    def refuse(self, project: ProjectName) -> None:
        """Raises Withheld where the name alone keeps all files of the project back."""
        if (refused := self._policy.refuses(project)) is not None:
            raise self._withheld(refused)

    def left_out(self, project: ProjectName, filename: Filename) -> File | None:
        """A file of this name that is not on the page of the project that was given last."""
        judged = self._judged.get(project)
        if judged is None:
            return None
        pairs = zip(judged.raw.files, judged.verdicts.of, strict=True)
        return next((file for file, refused in pairs if refused is not None and file.filename == filename), None)

    def _admit(self, project: ProjectName) -> None:
        if (refused := self._policy.refuses(project)) is not None:
            raise ProjectUnknown(f"{self._place} does not offer {project}: {refused.reason}")

    def _withheld(self, refused: Refused) -> Withheld:
        return Withheld(f"hidden by {self._place}: {refused.reason}")

    # ------------------------------------------------------------------ pages, judged once

    async def judgement(self, project: ProjectName) -> Judged:
        """What the rules say of the page that the index behind has now; not for names that they refuse.

        Raises what `page` raises.
        """
        return await self.judged(project, (await self._inner.page(project)).value)

    async def judged(self, project: ProjectName, raw: ProjectPage) -> Judged:
        """What the rules say of this page now."""
        kept = self._judged.get(project)
        if kept is not None and kept.raw is raw and self._clock() < kept.verdicts.until:
            self._judged.move_to_end(project)
            return kept
        if len(raw.files) < OFF_LOOP:
            return self._keep(project, self._judge(project, raw, kept))

        async def run() -> Judged:
            judged = await self._run(len(raw.files), lambda: self._judge(project, raw, kept))
            return self._keep(project, judged)

        return await self._flights.wait((project, id(raw)), run)

    def _judge(self, project: ProjectName, raw: ProjectPage, kept: Judged | None) -> Judged:
        same = kept is not None and kept.raw is raw
        files = kept.seen if kept is not None and same else seen(project, raw.files)
        verdicts = self._verdicts(project, files)
        if not verdicts.counts:
            return Judged(raw, files, verdicts, raw)
        shown = tuple(file for file, verdict in zip(raw.files, verdicts.of, strict=True) if verdict is None)
        if kept is not None and same and shown == kept.page.files:
            page = kept.page
        else:
            page = msgspec.structs.replace(raw, files=shown)  # `versions` follows them when it is rendered
            if kept is not None and page == kept.page:
                page = kept.page  # and with it all that was rendered
        return Judged(raw, files, verdicts, page)

    def _verdicts(self, project: ProjectName, files: Seen) -> Verdicts:
        return self._policy.verdicts(project, files, self._clock())

    def _keep(self, project: ProjectName, judged: Judged) -> Judged:
        for key, count in judged.verdicts.counts.items():
            self._hidden(key, count)
        if (gone := self._judged.pop(project, None)) is not None:
            self._files -= 1 + len(gone.raw.files)
        self._judged[project] = judged
        self._files += 1 + len(judged.raw.files)
        while self._files > self._capacity and len(self._judged) > 1:
            _, gone = self._judged.popitem(last=False)
            self._files -= 1 + len(gone.raw.files)
        return judged

    async def _run(self, size: int, call: Callable[[], T]) -> T:
        if size < OFF_LOOP:
            return call()
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)
