"""The filtered index by itself, around an index that a test fills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from pyproxy.errors import ProjectUnknown, RemoteFailed, Withheld
from pyproxy.filters import Policy, Refused, Seen
from pyproxy.filters.protocol import Judge
from pyproxy.index.filtered import FilteredIndex
from pyproxy.index.protocol import Details, FileRef, Names, OfferedFile, Served
from pyproxy.instants import show_instant
from pyproxy.model import File, ProjectName, ProjectPage, as_project
from tests.filters.looking import NOW, a_file, policy

ALPHA = as_project("alpha")
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What the index behind lets the client have, so far as these tests look at it."""

    project: ProjectName
    file: File


@dataclass(slots=True)
class Behind:
    """An index of one project. `asked` tells what it was asked for; `stored` are files that no page names any more."""

    page_now: ProjectPage | None
    fresh_for: float = 600.0
    fails: RemoteFailed | None = None
    stored: tuple[File, ...] = ()
    asked: list[str] = field(default_factory=list)

    async def projects(self) -> Served[Mapping[str, Names]]:
        return Served({"up": Names(Path("/nowhere"), "digest")}, "hit", 1.0)

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        self.asked.append(f"page {project}")
        if self.fails is not None:
            raise self.fails
        if self.page_now is None:
            raise ProjectUnknown(project)
        return Served(self.page_now, "hit", self.fresh_for)

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        self.asked.append(f"details {project} {version}")
        return Served(Details(), "hit", 1.0)

    async def file(self, ref: FileRef) -> OfferedFile:
        self.asked.append(f"file {ref.filename}")
        files = (*self.stored, *(self.page_now.files if self.page_now is not None else ()))
        found = next(file for file in files if file.link == ref.link)
        return cast("OfferedFile", Offer(ALPHA, found))


@dataclass(slots=True)
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Stage:
    """A filtered index, what is behind it, and what it counted."""

    index: FilteredIndex
    behind: Behind
    clock: Clock
    counted: list[tuple[str, int]]


@asynccontextmanager
async def filtering(rules: Policy, *files: File, stored: tuple[File, ...] = ()) -> AsyncIterator[Stage]:
    behind, clock, counted = Behind(ProjectPage(ALPHA, files), stored=stored), Clock(), list[tuple[str, int]]()
    with ThreadPoolExecutor(2) as executor:
        index = FilteredIndex(
            behind,
            rules,
            place="remote up",
            executor=executor,
            hidden=lambda key, count: counted.append((key, count)),
            clock=clock,
        )
        yield Stage(index, behind, clock, counted)
        await index.close()


def aged(version: str, days: float) -> File:
    return a_file(f"alpha-{version}.tar.gz", upload_time=show_instant(NOW - days * DAY))


def ref(file: File) -> FileRef:
    return FileRef.from_link(file.link, file.filename)


async def shown(stage: Stage) -> list[str]:
    return [file.filename for file in (await stage.index.page(ALPHA)).value.files]


async def test_name__refused__asks_nobody_anything() -> None:
    file = a_file("alpha-1.0.tar.gz")
    async with filtering(policy(excludes=["alpha"]), file) as stage:
        with pytest.raises(ProjectUnknown, match="remote up does not offer alpha: excludes names alpha"):
            await stage.index.page(ALPHA)
        with pytest.raises(ProjectUnknown):
            await stage.index.details(ALPHA, None)
        with pytest.raises(Withheld, match="hidden by remote up: excludes names alpha"):
            await stage.index.file(ref(file))
    assert stage.behind.asked == []


async def test_page__unchanged__is_judged_once_and_the_same_object() -> None:
    async with filtering(policy(excludes=["alpha==2"]), a_file("alpha-1.tar.gz"), a_file("alpha-2.tar.gz")) as stage:
        first = (await stage.index.page(ALPHA)).value
        assert (await stage.index.page(ALPHA)).value is first
        assert stage.counted == [("excludes", 1)]
        page = stage.behind.page_now
        assert page is not None
        stage.behind.page_now = ProjectPage(ALPHA, (*page.files, a_file("alpha-2-py3-none-any.whl")))
        assert (await stage.index.page(ALPHA)).value is first  # what is left of it is what was left before
        assert stage.counted == [("excludes", 1), ("excludes", 2)]


async def test_page__nothing_hidden__is_the_one_behind() -> None:
    async with filtering(policy(excludes=["alpha==9"]), a_file("alpha-1.tar.gz")) as stage:
        assert (await stage.index.page(ALPHA)).value is stage.behind.page_now


async def test_page__is_fresh_until_the_next_file_comes_of_age() -> None:
    async with filtering(policy(min_age=7 * DAY), aged("1", 8), aged("2", 7 - 60 / DAY), aged("3", 0)) as stage:
        assert (await stage.index.page(ALPHA)).fresh_for == 60.0
        stage.clock.now += 59
        assert await shown(stage) == ["alpha-1.tar.gz"]
        stage.clock.now += 1
        assert await shown(stage) == ["alpha-1.tar.gz", "alpha-2.tar.gz"]
        assert (await stage.index.page(ALPHA)).fresh_for == 600.0
        stage.behind.fresh_for = 0.0
        assert (await stage.index.page(ALPHA)).fresh_for == 0.0  # stale stays stale


async def test_page__large__asked_for_by_many__is_judged_once() -> None:
    files = [a_file(f"alpha-1.{number}.tar.gz") for number in range(1000)]
    async with filtering(policy(excludes=["alpha>=1.500"]), *files) as stage:
        pages = await asyncio.gather(*(stage.index.page(ALPHA) for _ in range(20)))
        assert len({id(served.value) for served in pages}) == 1
        assert stage.counted == [("excludes", 500)]


async def test_file__shown__needs_no_page() -> None:
    file = aged("1", 8)
    async with filtering(policy(min_age=7 * DAY), file) as stage:
        assert (await stage.index.file(ref(file))).file is file
    assert stage.behind.asked == ["file alpha-1.tar.gz"]


@dataclass(slots=True)
class Asked:
    """A rule that hides nothing, and remembers what it was asked about."""

    files: list[str] = field(default_factory=list)
    key: ClassVar = "asked"

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Sequence[Judge]:
        del project
        return (self._judge,)

    def _judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        self.files.extend(page.files[at].filename for at in positions)
        return {}


async def test_file__as_its_page_has_it__is_judged_with_the_page_alone() -> None:
    one, two, rule = a_file("alpha-1.tar.gz"), a_file("alpha-2.tar.gz"), Asked()
    async with filtering(Policy((rule,)), one, two, stored=(a_file("alpha-3.tar.gz"),)) as stage:
        await stage.index.page(ALPHA)
        await stage.index.file(ref(two))
        assert rule.files == ["alpha-1.tar.gz", "alpha-2.tar.gz"]
        await stage.index.file(ref(stage.behind.stored[0]))  # no page names it
        assert rule.files[2:] == ["alpha-3.tar.gz"]


async def test_file__young_when_its_page_was_judged__is_served_once_it_is_of_age() -> None:
    file = aged("1", 7 - 60 / DAY)
    async with filtering(policy(min_age=7 * DAY), file) as stage:
        assert await shown(stage) == []
        with pytest.raises(Withheld):
            await stage.index.file(ref(file))
        stage.clock.now += 60
        assert (await stage.index.file(ref(file))).file is file


async def test_file__of_which_less_is_known_than_the_page_tells__is_judged_by_the_page() -> None:
    old, young = aged("1", 8), aged("2", 1)
    bare = tuple(a_file(file.filename) for file in (old, young))
    async with filtering(policy(min_age=7 * DAY), old, young, stored=bare) as stage:
        await stage.index.file(ref(old))
        with pytest.raises(Withheld, match="min_age 7d: it was uploaded at"):
            await stage.index.file(ref(young))
        stage.behind.fails = RemoteFailed("up", "down")
        with pytest.raises(Withheld, match="unknown_age"):
            await stage.index.file(ref(old))


async def test_file__no_longer_on_its_page__is_counted_among_those_that_are() -> None:
    gone = a_file("alpha-1.tar.gz")
    async with filtering(policy(keep_latest_packages=2), a_file("alpha-3.tar.gz"), stored=(gone,)) as stage:
        await stage.index.file(ref(gone))
        page = stage.behind.page_now
        assert page is not None
        stage.behind.page_now = ProjectPage(ALPHA, (*page.files, a_file("alpha-2.tar.gz")))
        with pytest.raises(Withheld, match="keep_latest_packages"):
            await stage.index.file(ref(gone))


async def test_pages_kept__are_bounded_by_their_files() -> None:
    async with filtering(policy(excludes=["alpha==1"]), a_file("alpha-1.tar.gz")) as stage:
        index: Any = stage.index
        index._capacity = 10
        for number in range(100):
            await stage.index.page(as_project(f"p{number}"))
        assert len(index._judged) <= 5


async def test_projects__carry_the_sieve_and_a_digest_of_their_own() -> None:
    async with filtering(policy(excludes=["alpha"])) as stage:
        [names] = (await stage.index.projects()).value.values()
        assert [sieve.excludes for sieve in names.sieves] == [("alpha",)]
        assert names.digest != "digest"
    async with filtering(policy(excludes=["alpha==1"])) as stage:
        [names] = (await stage.index.projects()).value.values()
        assert names == Names(Path("/nowhere"), "digest")
