"""One remote as an Index: its pages cached by the rules of freshness, its files found by link."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from itertools import islice

import msgspec

from pyproxy.errors import (
    FileUnknown,
    PageUnreadable,
    ProjectUnknown,
    PyproxyError,
    RemoteFailed,
    Withheld,
)
from pyproxy.fellows import Fellows
from pyproxy.freshness import Have, Rules, Verdict, decide
from pyproxy.index.keeper import Ask, Copy, Fetched, Keeper
from pyproxy.index.lists import RemoteList
from pyproxy.index.protocol import Details, FileRef, Names, OfferedFile, Served
from pyproxy.index.remote_details import RemoteDetails
from pyproxy.index.remote_files import RemoteFiles
from pyproxy.index.shelf import Held, Shelf
from pyproxy.index.stored_pages import StoredPages, off_loop
from pyproxy.model import ProjectName, ProjectPage, printable, projects_of
from pyproxy.simple_api import Linker, parse_page
from pyproxy.storage.records import PageHead, Records
from pyproxy.upstream import PageMissing, PageUnchanged, Upstream, Validators

log = logging.getLogger(__name__)

CANDIDATES = 4
"""At most so many projects are asked for a file whose name leaves its project open."""

MISSING_REMEMBERED = 10_000
"""Names known to be missing; beyond it the oldest are forgotten, so 100,000 invented names cost nothing."""


QUARANTINED = "quarantined"
"""The project status (PEP 792) whose files are not to be offered."""


class CachedIndex:
    """The pages and files of one remote.

    Pages live in LMDB as parsed, the hot ones decoded on a shelf; a 404 is remembered in memory alone.
    `origin` stands for everything that decides how a page is read (the remote's URL, its file hosts):
    pages stored under another origin are as good as absent. `changed` is told of each project whose page here may say
    something else from now on.
    """

    def __init__(
        self,
        upstream: Upstream,
        records: Records,
        keeper: Keeper[ProjectName, Held],
        files: RemoteFiles,
        *,
        names: RemoteList,
        details: RemoteDetails,
        name: str,
        origin: str,
        rules: Rules,
        linker: Linker,
        executor: Executor,
        dropped: Callable[[int], None],
        fellows: Fellows,
        changed: Callable[[ProjectName], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._turns = fellows.turns
        self._changes = fellows.changes
        self._upstream = upstream
        self._keeper = keeper
        self._files = files
        self._names = names
        self._details = details
        self._origin = origin
        self._rules = rules
        self._linker = linker
        self._executor = executor
        self._dropped = dropped
        self._changed = changed
        self._clock = clock
        self._shelf = Shelf()
        self._stored = StoredPages(
            records,
            name=name,
            origin=origin,
            executor=executor,
            changes=fellows.changes,
            fetching=lambda: keeper.is_asking,
        )
        self._missing: OrderedDict[ProjectName, float] = OrderedDict()

    async def projects(self) -> Served[Mapping[str, Names]]:
        served = await self._names.get()
        return Served({self.name: served.value}, served.result, served.fresh_for)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        served = await self._page(project)
        return Served(served.value.page, served.result, served.fresh_for)

    async def file(self, ref: FileRef) -> OfferedFile:
        if ref.source.partition("~")[0] != self.name:
            raise FileUnknown(f"no remote {printable(ref.source, 40)} is served here")
        candidates = list(islice(projects_of(ref.filename), CANDIDATES))
        for project in candidates:
            if (held := await self._held(project)) is not None and (file := held.file(ref.link)) is not None:
                await self._refuse_quarantined(project, held)
                # A link names the same bytes for ever, so a page past its ttl serves; it is confirmed behind.
                copy = Copy(held, held.head.fetched_at)
                self._keeper.refresh_behind(project, _page_of(project), copy, self._fetching(project, copy))
                return self._files.offer(project, file)
        if (known := self._files.kept(ref)) is not None:
            if (held := await self._held(known.project)) is not None:
                await self._refuse_quarantined(known.project, held)
            return known
        return await self._ask_for(ref, candidates)

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        return await self._details.get(project, version)

    async def _ask_for(self, ref: FileRef, candidates: list[ProjectName]) -> OfferedFile:
        """Looks on the pages themselves, the likeliest project's first."""
        failure: PyproxyError | None = None
        for project in candidates:
            try:
                held = await self._held(project)
                served = await self._page(project, anew=held is not None and self._may_have_grown(held))
            except ProjectUnknown:
                continue
            except RemoteFailed as exc:
                failure = failure or exc
                continue
            file = served.value.file(ref.link)
            if file is not None or len(candidates) == 1:
                await self._refuse_quarantined(project, served.value)
            if file is not None:
                return self._files.offer(project, file)
        if failure is not None:
            raise failure
        raise FileUnknown(f"remote {self.name} has no page that links {printable(ref.filename)} there")

    async def close(self) -> None:
        """Ends what is under way; what is being written is written."""
        await self._keeper.close()
        await self._names.close()
        await self._files.close()
        await self._details.close()
        await self._stored.settled()

    def _may_have_grown(self, held: Held) -> bool:
        """Whether a file that the page does not name may be there by now: "no" is believed as long as a 404 is."""
        age = self._clock() - held.head.fetched_at
        return not 0 <= age < min(self._rules.ttl, self._rules.negative_ttl)

    async def _refuse_quarantined(self, project: ProjectName, held: Held) -> None:
        """Raises Withheld where the remote has the project in quarantine, as far as it may be known by now."""
        if held.page.status == QUARANTINED:
            held = (await self._page(project)).value
        if held.page.status == QUARANTINED:
            reason = f": {held.page.status_reason}" if held.page.status_reason else ""
            raise Withheld(f"{project} is quarantined on remote {self.name}{reason}")

    # ------------------------------------------------------------------ what is held

    async def _page(self, project: ProjectName, *, anew: bool = False) -> Served[Held]:
        held = await self._held(project)
        if held is None and self._is_missing(project):
            raise self._unknown(project)
        copy = Copy(held, held.head.fetched_at) if held is not None else None
        served = await self._keeper.get(project, _page_of(project), copy, self._fetching(project, copy), anew=anew)
        if served.result != "hit":
            self._current(project, served.value)  # in place; what is held is current already
        return served

    async def _held(self, project: ProjectName) -> Held | None:
        if project in self._missing and not self._is_back(project):
            return None  # whatever may still lie in the store
        held = self._shelf.get(project)
        if held is not None and held.seen != self._changes.stamp:
            held = await self._noticed(project, held)
        if held is None:
            stored = await self._stored.load(project)
            if stored is None or project in self._missing:
                return None
            # Meanwhile somebody else may have unpacked it too, or fetched a newer one.
            held = self._shelf.get(project)
            if held is None:
                held = stored
                self._shelf.put(project, held)
        return self._current(project, held)

    def _is_back(self, project: ProjectName) -> bool:
        """Whether another worker has found a page that was missing here."""
        if not self._changes.shared:
            return False
        head = self._stored.head(project)
        if head is None or head.fetched_at <= self._missing[project]:
            return False
        del self._missing[project]
        return True

    async def _noticed(self, project: ProjectName, held: Held) -> Held | None:
        """The page as another worker may have left it: fetched anew, confirmed, or gone. None where it is gone."""
        stamp = self._changes.stamp  # before the look: what changes meanwhile is looked at again
        head = self._stored.head(project)
        if head is None:
            if not held.head.version or self._stored.is_writing(project):
                held.seen = stamp  # not stored yet, or never to be, as the disk refuses it
                return held
            self._shelf.drop(project)
            return None
        if head.fetched_at <= held.head.fetched_at:
            held.seen = stamp
            return held
        if head.version == held.head.version:
            held.head, held.seen = head, stamp
            return held
        newer = await self._stored.load(project)
        now = self._shelf.get(project)
        if newer is None or now is not held:
            return now  # somebody here has put another there while the page was unpacked
        if newer.raw == held.raw:
            held.head, held.seen = newer.head, stamp
            return held
        newer.seen = stamp
        self._shelf.put(project, newer)
        return newer

    def _current(self, project: ProjectName, held: Held) -> Held:
        """The page with all that was learned of its wheels' metadata since it was fetched."""
        learned = self._stored.learned(project)
        if learned.version != held.learned:
            held.learn(learned.version, learned.digests)
            self._changed(project)
        return held

    def _is_missing(self, project: ProjectName) -> bool:
        since = self._missing.get(project)
        if since is None:
            return False
        if decide(self._rules, Have.MISSING, self._clock() - since) is Verdict.FRESH:
            return True
        del self._missing[project]
        return False

    # ------------------------------------------------------------------ asking the remote

    def _fetching(self, project: ProjectName, copy: Copy[Held] | None) -> Ask[Held]:
        return partial(self._fetch, project, copy)

    async def _fetch(self, project: ProjectName, copy: Copy[Held] | None, deadline: float) -> Fetched[Held]:
        """One worker asks, the others wait for what it stores. `copy`: what was known when this was begun."""
        held = None if copy is None else copy.value
        if not self._changes.shared:  # all that is asked for comes through here, once at a time
            return await self._asked(project, held, deadline)
        try:
            turn = await self._turns.take(f"page {self.name} {self._origin} {project}", until=deadline)
        except TimeoutError:
            raise RemoteFailed(self.name, "another worker waits for its answer") from None
        try:
            held = await self._held(project)
            if held is not None and held.head.fetched_at > (-math.inf if copy is None else copy.fetched_at):
                return Fetched(Copy(held, held.head.fetched_at), "miss")
            return await self._asked(project, held, deadline)
        finally:
            # Not before it is stored: who has the next turn looks there.
            self._stored.then(project, turn.release)

    async def _asked(self, project: ProjectName, held: Held | None, deadline: float) -> Fetched[Held]:
        validators = Validators() if held is None else Validators(held.head.etag, held.head.last_modified)
        answer = await self._upstream.page(project, validators, deadline=deadline)
        now = self._clock()
        if isinstance(answer, PageMissing):
            await self._forget(project, now)
            raise self._unknown(project)
        if isinstance(answer, PageUnchanged):
            if held is None:
                raise RemoteFailed(self.name, "said 'not modified' of a page that it was never asked to compare")
            held.head = msgspec.structs.replace(
                held.head, fetched_at=now, etag=answer.validators.etag, last_modified=answer.validators.last_modified
            )
            self._keep(project, held)
            return Fetched(Copy(held, now), "revalidated")
        try:
            parsed = await off_loop(
                self._executor,
                lambda: parse_page(answer.body, answer.content_type, answer.url, project, linker=self._linker),
                size=len(answer.body),
            )
        except PageUnreadable as exc:
            raise RemoteFailed(self.name, f"the page of {project}: {exc}") from exc
        if parsed.dropped:
            self._dropped(parsed.lost)
            log.warning(
                "remote %s: the page of %s loses %d links: %s",
                self.name,
                project,
                parsed.lost,
                "; ".join(parsed.dropped[:5]),
            )
        head = PageHead(
            url=self._origin, etag=answer.validators.etag, last_modified=answer.validators.last_modified, fetched_at=now
        )
        # Where the bytes changed but nothing that we serve did, the old object stays: all that was rendered of it too.
        same = held is not None and held.raw == parsed.page
        if held is None or not same:
            held = Held(head, parsed.page, parsed.page, learned=0)
        else:
            held.head = msgspec.structs.replace(head, version=held.head.version)
        self._missing.pop(project, None)
        self._keep(project, held)
        return Fetched(Copy(held, now), "miss")

    def _keep(self, project: ProjectName, held: Held) -> None:
        self._shelf.put(project, held)
        self._changed(project)
        self._stored.keep(project, held)

    async def _forget(self, project: ProjectName, now: float) -> None:
        self._missing[project] = now
        self._missing.move_to_end(project)
        while len(self._missing) > MISSING_REMEMBERED:
            self._missing.popitem(last=False)
        self._shelf.drop(project)
        self._changed(project)
        await self._stored.forget(project)

    def _unknown(self, project: ProjectName) -> ProjectUnknown:
        now = self._clock()
        left = max(0.0, self._rules.negative_ttl - (now - self._missing.get(project, now)))
        return ProjectUnknown(f"remote {self.name} has no project {project}", left)


def _page_of(project: ProjectName) -> str:
    """What messages call a page."""
    return f"the page of {project}"
