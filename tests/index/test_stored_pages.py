"""Pages written behind the answers: together, in order, and what is out of date not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyproxy.errors import StoreTrouble
from pyproxy.fellows import OwnChanges
from pyproxy.index import stored_pages as module
from pyproxy.index.shelf import Held
from pyproxy.index.stored_pages import StoredPages
from pyproxy.model import ProjectName, ProjectPage
from pyproxy.storage.records import PageHead, Records
from pyproxy.storage.writer import Unfinished
from tests.storage.stores import opened

ORIGIN = "https://index.example/simple/ *"
NAMES = [ProjectName(f"project-{number}") for number in range(5)]
BAD = NAMES[2]


def held(name: ProjectName, *versions: str) -> Held:
    page = ProjectPage(name, versions=versions)
    return Held(PageHead(ORIGIN, None, None, 1000.0), page, page, learned=0)


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    with opened(tmp_path / "data") as store:
        yield store.records


@pytest.fixture
async def pages(records: Records) -> AsyncIterator[StoredPages]:
    with ThreadPoolExecutor(1) as pool:
        made = StoredPages(records, name="up", origin=ORIGIN, executor=pool, changes=OwnChanges())
        yield made
        await made.settled()


async def stored(pages: StoredPages, name: ProjectName) -> ProjectPage | None:
    found = await pages.load(name)
    return None if found is None else found.raw


async def test_pages__that_come_together__are_written_in_one_transaction(pages: StoredPages, records: Records) -> None:
    before = records.stamp()
    for name in NAMES:
        pages.keep(name, held(name, "1.0"))
    await pages.settled()
    assert [await stored(pages, name) for name in NAMES] == [ProjectPage(name, versions=("1.0",)) for name in NAMES]
    assert records.stamp() == before + 1


class Rush:
    """Whether others are fetched; counts how often it is asked."""

    def __init__(self, records: Records, pool: ThreadPoolExecutor) -> None:
        self.goes_on = True
        self.looks = 0
        self.pages = StoredPages(
            records, name="up", origin=ORIGIN, executor=pool, changes=OwnChanges(), fetching=self.fetching
        )

    def fetching(self) -> bool:
        self.looks += 1
        return self.goes_on


@pytest.fixture
async def rush(records: Records, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rush]:
    monkeypatch.setattr(module, "_LOOK", 0.001)
    with ThreadPoolExecutor(1) as pool:
        made = Rush(records, pool)
        yield made
        await made.pages.settled()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.001)


async def test_pages__while_others_are_fetched__wait_for_them(
    rush: Rush, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUSH", 60.0)
    before = records.stamp()
    rush.pages.keep(NAMES[0], held(NAMES[0], "1.0"))
    await until(lambda: rush.looks >= 3)
    rush.pages.keep(NAMES[1], held(NAMES[1], "1.0"))
    await until(lambda: rush.looks >= 6)
    assert (records.stamp(), rush.pages.is_writing(NAMES[0])) == (before, True)

    rush.goes_on = False
    await until(lambda: not rush.pages.is_writing(NAMES[0]))
    assert records.stamp() == before + 1
    assert await stored(rush.pages, NAMES[1]) == ProjectPage(NAMES[1], versions=("1.0",))


async def test_pages__while_others_are_fetched_without_end__wait_no_longer_than_a_rush(
    rush: Rush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUSH", 0.01)
    rush.pages.keep(NAMES[0], held(NAMES[0], "1.0"))
    await until(lambda: not rush.pages.is_writing(NAMES[0]))
    assert await stored(rush.pages, NAMES[0]) == ProjectPage(NAMES[0], versions=("1.0",))


async def test_page__kept_again_before_it_is_written__is_the_newer_one(pages: StoredPages) -> None:
    first, second = held(BAD, "1.0"), held(BAD, "1.0", "2.0")
    told: list[str] = []
    pages.keep(BAD, first)
    pages.then(BAD, lambda: told.append("first"))
    pages.keep(BAD, second)
    pages.then(BAD, lambda: told.append("second"))
    assert pages.is_writing(BAD)
    assert told == []
    await pages.settled()
    assert not pages.is_writing(BAD)
    assert await stored(pages, BAD) == second.raw
    assert told == ["first", "second"]
    assert second.head.version
    assert not first.head.version


@pytest.mark.parametrize("when", ["due", "under way"])
async def test_page__forgotten_while_it_is_written__does_not_stay(pages: StoredPages, when: str) -> None:
    told: list[bool] = []
    pages.keep(BAD, held(BAD, "1.0"))
    pages.then(BAD, lambda: told.append(True))
    if when == "under way":
        while BAD not in pages._under_way:  # noqa: ASYNC110 - some turns of the loop, and nothing tells of the right one
            await asyncio.sleep(0)
    await pages.forget(BAD)
    await pages.settled()
    assert await stored(pages, BAD) is None
    assert told == [True]


async def test_page__kept_after_it_was_forgotten__stays(pages: StoredPages) -> None:
    pages.keep(BAD, held(BAD, "1.0"))
    await pages.settled()
    await pages.forget(BAD)
    pages.keep(BAD, held(BAD, "2.0"))
    await pages.settled()
    assert await stored(pages, BAD) == ProjectPage(BAD, versions=("2.0",))


def failing_for(name: ProjectName, put: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    # Any: it stands in for the method.
    async def put_pages(remote: str, pages: list[tuple[ProjectName, PageHead, bytes | None]]) -> Any:
        if any(project == name for project, _, _ in pages):
            raise error
        return await put(remote, pages)

    return put_pages


async def test_page__that_cannot_be_written__does_not_keep_others_from_it(
    pages: StoredPages, records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(records, "put_pages", failing_for(BAD, records.put_pages, StoreTrouble("no room")))
    told: list[bool] = []
    for name in NAMES:
        pages.keep(name, held(name, "1.0"))
    pages.then(BAD, lambda: told.append(True))
    await pages.settled()
    assert [await stored(pages, name) is not None for name in NAMES] == [name != BAD for name in NAMES]
    assert told == [True]
    assert "the page of project-2 from remote up was served but not kept: no room" in caplog.text


async def test_pages__disk_hangs__are_not_tried_each_by_itself(
    pages: StoredPages, records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    async def hanging(_: str, batch: list[Any]) -> Any:  # Any: it stands in for the method
        tried.append(len(batch))
        raise Unfinished("too slow")

    monkeypatch.setattr(records, "put_pages", hanging)
    for name in NAMES:
        pages.keep(name, held(name, "1.0"))
    await pages.settled()
    assert tried == [len(NAMES)]
    assert caplog.text.count("was served but not kept: too slow") == len(NAMES)


async def test_unexpected_trouble__with_one_batch__is_logged_and_the_next_is_written(
    pages: StoredPages, records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put = records.put_pages

    async def failing(*_: Any) -> Any:  # Any: it stands in for the method
        pages.keep(NAMES[0], held(NAMES[0], "1.0"))
        monkeypatch.setattr(records, "put_pages", put)
        raise RuntimeError("a bug")

    monkeypatch.setattr(records, "put_pages", failing)
    pages.keep(BAD, held(BAD, "1.0"))
    with caplog.at_level(logging.ERROR):
        await pages.settled()
    assert "unexpected trouble with the pages of remote up" in caplog.text
    assert await stored(pages, NAMES[0]) is not None
    assert not pages.is_writing(BAD)
