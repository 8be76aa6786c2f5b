"""Pages as the store has them: damaged, not written, or dropped while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest

from pyproxy.errors import StoreTrouble
from pyproxy.index import stored_pages
from pyproxy.model import ProjectName
from pyproxy.storage.records import PageHead
from pyproxy.storage.rows import page_key
from tests.daemon import Answer, Served, a_wheel, one_remote, project, serving
from tests.fakes.faults import Status
from tests.fakes.raw_upstream import RawUpstream

T = TypeVar("T")
ALPHA = ProjectName("alpha")
PAGE = "/simple/alpha/"


def filenames(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [file["filename"] for file in answer.json()["files"]]


def shelved(served: Served) -> list[ProjectName]:
    """The projects whose pages are in memory."""
    return list(served.daemon.current.site.sources["up"].index._shelf._held)


def forget_shelf(served: Served) -> None:
    served.daemon.current.site.sources["up"].index._shelf.drop(ALPHA)


@pytest.mark.parametrize("again", ["in memory", "after a restart"])
async def test_page__whose_body_could_not_be_stored__is_not_confirmed_over_the_old_body(
    up: RawUpstream, tmp_path: Path, again: str
) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        await served.page()
        await served.settled()
        made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
        made.publish(up, etag='"2"')
        served.later(601)
        records = served.daemon.machinery.store.records
        with mock.patch.object(records, "put_pages", side_effect=StoreTrouble("no room")):
            assert len(filenames(await served.page())) == 2
            await served.settled()
        served.later(601)
        await served.page()  # confirmed with a 304
        await served.settled()
        if again == "in memory":
            forget_shelf(served)
            assert len(filenames(await served.page())) == 2
    if again == "after a restart":
        async with serving(tmp_path, one_remote(up, ttl="1h")) as served:
            assert len(filenames(await served.page())) == 2
    assert [r.headers.get("if-none-match") for r in up.requests[:3]] == [None, '"1"', '"2"']


async def test_page__confirmed_while_another_body_is_stored__is_stored_anew(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        await served.page()
        await served.settled()
        records = served.daemon.machinery.store.records
        stored = records.page("up", ALPHA)
        assert stored is not None
        other: PageHead = stored[0]
        await records.put_page("up", ALPHA, other, b"another process stored this")
        served.later(601)
        await served.page()
        await served.settled()
        forget_shelf(served)
        assert filenames(await served.page()) == list(made.files)
    assert up.count(PAGE) == 2


async def test_page__damaged_in_the_store__is_fetched_again(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        await served.page()
        await served.settled()
        records = served.daemon.machinery.store.records
        await records.writer.write(lambda txn: txn.put(page_key("up", ALPHA), b"junk", db=records.env.bodies))
        forget_shelf(served)
        assert filenames(await served.page()) == list(made.files)
        await served.settled()
        forget_shelf(served)
        assert filenames(await served.page()) == list(made.files)
    assert [r.headers.get("if-none-match") for r in up.requests] == [None, None]


async def test_page__gone_while_it_is_read_from_the_store__does_not_come_back(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(up)
    reading, go_on = asyncio.Event(), asyncio.Event()
    plain = stored_pages.off_loop

    async def first_slow(executor: Executor, call: Callable[[], T], *, size: int) -> T:
        result = await plain(executor, call, size=size)
        if not reading.is_set():
            reading.set()
            await go_on.wait()
        return result

    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        await served.settled()
        forget_shelf(served)
        served.later(601)
        monkeypatch.setattr(stored_pages, "off_loop", first_slow)
        early = asyncio.create_task(served.ask(link))
        await reading.wait()
        up.script(PAGE, Status(404), times=None)
        assert (await served.page()).status == 404
        go_on.set()
        assert (await early).status == 404
        assert shelved(served) == []
