"""A small file is held in memory until it is whole and right; what turns out to be large goes on on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyproxy.arrival import HOLD_BACK, Arrival, Landed, Promise
from pyproxy.arrival.download import SMALL
from pyproxy.arrivals import Arrivals
from pyproxy.errors import ContentWrong, StoreFull, StoreTrouble
from pyproxy.storage.spool import Spool
from pyproxy.storage.temps import Temp
from tests.fakes.bodies import Part, ScriptedFile, opener
from tests.fakes.shelves import Place, Shelf, client, read

BODY = bytes(range(256)) * 400  # 100 KiB
LARGE = bytes(range(251)) * 2000  # 490 KiB


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def promise(body: bytes, *, sized: bool = True) -> Promise:
    return Promise({"sha256": digest_of(body)}, len(body) if sized else None)


def arriving(
    remote: ScriptedFile, shelf: Shelf, pool: ThreadPoolExecutor, promised: Promise, *, keep: bool = True
) -> Arrival:
    return Arrival("a-1.0.whl", "far", promised, opener(remote), shelf, keep=keep, retries=3, executor=pool)


async def served(arrival: Arrival) -> bytes:
    """What a client gets of it, once all is stored."""
    arrivals = Arrivals()
    body = await client(arrivals.join("k", lambda: arrival))
    await arrivals.close(grace=5)
    return body


@pytest.mark.parametrize("size", [len(BODY), None], ids=["by-its-page", "by-its-head"])
async def test_run__small__is_on_no_disk_before_it_is_whole(
    shelf: Shelf, pool: ThreadPoolExecutor, size: int | None
) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=40_000)])
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(remote, shelf, pool, Promise({"sha256": digest_of(BODY)}, size)))
    with arrival.reading():
        while arrival.arrived < 40_000:
            await arrival.changed()

        assert arrival.sendable(arrival.total) == 40_000  # the first bytes do not wait for the last
        assert (list(shelf.tmp.iterdir()), shelf.reserved, arrival.body) == ([], 0, None)
        gate.set()
        await arrival.whole()
        assert arrival.body == BODY
    assert shelf.kept == {digest_of(BODY): BODY}
    await arrivals.close(grace=5)
    assert (list(shelf.tmp.iterdir()), shelf.reserved) == ([], 0)


@pytest.mark.parametrize("part", [Part(), Part(length_told=False, framed=False)], ids=["length-told", "not-told"])
async def test_run__size_not_promised_and_large__goes_on_on_disk(
    shelf: Shelf,
    pool: ThreadPoolExecutor,
    part: Part,
) -> None:
    remote = ScriptedFile(LARGE, [part])
    arrival = arriving(remote, shelf, pool, promise(LARGE, sized=False))

    assert await served(arrival) == LARGE
    assert shelf.kept == {digest_of(LARGE): LARGE}
    assert (list(shelf.tmp.iterdir()), shelf.reserved) == ([], 0)


async def test_run__grows_over_the_bound__takes_room_for_all_of_it(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(LARGE, [Part(gate=gate, first=SMALL + 1, length_told=False, framed=False)])
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(remote, shelf, pool, promise(LARGE, sized=False)))
    with arrival.reading():
        while arrival.arrived <= SMALL:
            await arrival.changed()

        assert shelf.reserved >= SMALL + 1
        assert shelf.written() == SMALL + 1
        gate.set()
        assert (await arrival.whole()).size == len(LARGE)
    await arrivals.close(grace=5)
    assert shelf.kept == {digest_of(LARGE): LARGE}


async def test_run__grows_over_the_bound_and_room_is_made_first__readers_that_go_on_meanwhile_miss_nothing(
    shelf: Shelf, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = asyncio.Event(), asyncio.Event()
    reserve = shelf.reserve

    async def slowly(nbytes: int) -> Place:
        asked.set()
        await made.wait()
        return await reserve(nbytes)

    monkeypatch.setattr(shelf, "reserve", slowly)
    remote = ScriptedFile(LARGE, [Part(length_told=False, framed=False)])
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(remote, shelf, pool, promise(LARGE, sized=False)))
    with arrival.reading() as reader:
        await asked.wait()
        body = asyncio.create_task(read(arrival, reader, None))
        for _ in range(100):
            await asyncio.sleep(0)  # it takes what there is
        made.set()
        assert await body == LARGE
    await arrivals.close(grace=5)
    assert shelf.kept == {digest_of(LARGE): LARGE}


@pytest.mark.parametrize("full_at", [0, 1000], ids=["no-file", "while-it-moves"])
async def test_run__grows_over_the_bound_and_the_disk_refuses__client_gets_everything(
    tmp_path: Path, pool: ThreadPoolExecutor, full_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, full_at=full_at)
    if not full_at:
        monkeypatch.setattr(Shelf, "temp", refuse)
    remote = ScriptedFile(LARGE, [Part(length_told=False, framed=False)])
    if full_at:
        shelf.temp().write(b"x" * full_at)  # others have filled it

    assert await served(arriving(remote, shelf, pool, promise(LARGE, sized=False))) == LARGE
    assert (shelf.kept, shelf.reserved) == ({}, 0)


def refuse(_: Shelf) -> Temp:
    raise StoreTrouble("no")


async def test_run__small_and_no_room__is_served_and_not_kept(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    shelf = Shelf(tmp_path, limit=1000)

    assert await served(arriving(ScriptedFile(BODY), shelf, pool, promise(BODY))) == BODY
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved) == ({}, [], 0)


async def test_run__small_and_the_disk_refuses__is_served_and_not_kept(
    shelf: Shelf, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: Shelf, body: bytes, landed: Landed, room: object) -> None:
        del body, landed, room
        raise StoreFull("no room")

    monkeypatch.setattr(Shelf, "put", full)

    assert await served(arriving(ScriptedFile(BODY), shelf, pool, promise(BODY))) == BODY
    assert (shelf.kept, shelf.reserved) == ({}, 0)


async def test_run__small_and_policy_streamed__touches_no_disk(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrival = arriving(ScriptedFile(BODY), shelf, pool, promise(BODY), keep=False)

    assert await served(arrival) == BODY
    assert (shelf.kept, shelf.most, shelf.reserved) == ({}, 0, 0)


async def test_run__small_and_wrong__is_kept_by_nobody_and_no_client_gets_its_end(
    shelf: Shelf, pool: ThreadPoolExecutor
) -> None:
    arrival = arriving(ScriptedFile(BODY[:-1] + b"x"), shelf, pool, promise(BODY))
    await arrival.run()

    assert isinstance(arrival.error, ContentWrong)
    assert (arrival.sendable(len(BODY)), arrival.body) == (len(BODY) - HOLD_BACK, None)
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved) == ({}, [], 0)


async def test_run__small_and_cut__is_resumed_in_memory(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(breaks_at=50_000), Part()])

    assert await served(arriving(remote, shelf, pool, promise(BODY))) == BODY
    assert [start for start, _ in remote.asked] == [0, 50_000]
    assert shelf.kept == {digest_of(BODY): BODY}


async def test_reading__begun_late_or_slow__finds_all_of_a_small_one(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrival = arriving(ScriptedFile(BODY), shelf, pool, promise(BODY))
    running = asyncio.create_task(arrival.run())
    with arrival.reading() as fast:
        await arrival.whole()
        fast.passed(len(BODY))
        with arrival.reading() as late:
            del late
            assert arrival.spool is not None
            assert (arrival.body, arrival.spool.read(0, 10)) == (BODY, BODY[:10])
    await running
    assert not arrival.joinable


def test_spool_opened__small__is_a_file_of_what_has_come() -> None:
    spool = Spool(None, small=True)
    for part in (b"first ", b"second"):
        spool.hold(part)

    fd = spool.opened()

    assert fd is not None
    try:
        assert os.pread(fd, 100, 0) == b"first second"
    finally:
        os.close(fd)


def test_spool_opened__of_what_is_passed_through__is_none() -> None:
    spool = Spool(None)
    spool.hold(b"gone soon")

    assert spool.opened() is None
