"""Small files are kept in groups: what they share is shared, and what goes wrong with one costs no other."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.storage.blobs import Each
from pyproxy.storage.cache import THREADS
from pyproxy.storage.incoming import GROUP, Incoming, spread
from pyproxy.storage.stock import Stock
from pyproxy.storage.store import Store
from tests.storage.stores import Faults, assert_sound, got, in_memory, opened, record_of, reopened_soundly, written

FILES = {f"public/{name}": name.encode() * 100 for name in "abcd"}


async def together(
    store: Store, files: Mapping[str, bytes], arm: Callable[[], None] = lambda: None
) -> dict[str, BaseException | None]:
    """Has all of them kept in one group; what came of each. `arm` is called before any of it is begun."""
    rooms = [await store.cache.reserve(len(data)) for data in files.values()]
    keeping = [
        store.cache.put(data, key, record_of(data), room)
        for (key, data), room in zip(files.items(), rooms, strict=True)
    ]
    return dict(zip(files, await begun_at_once(store, keeping, arm), strict=True))


async def begun_at_once(
    store: Store, keeping: Sequence[Coroutine[None, None, None]], arm: Callable[[], None] = lambda: None
) -> list[BaseException | None]:
    """What came of each, where the first thread that is free finds all of them."""
    go_on = threading.Event()
    busy = [asyncio.ensure_future(store.cache.run(lambda: go_on.wait(10))) for _ in range(THREADS)]
    await asyncio.sleep(0)
    arm()
    tasks = [asyncio.ensure_future(one) for one in keeping]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*busy)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_put__several_at_once__are_one_commit(tmp_path: Path) -> None:
    faults = Faults(errno.EIO)
    with opened(tmp_path / "data", fault=faults) as store:
        del faults.calls[:]

        assert set((await together(store, FILES)).values()) == {None}

        assert faults.calls.count("commit") == 1
        assert {key: got(store, key) for key in FILES} == FILES
        assert_sound(store)


@pytest.mark.parametrize(("size", "groups"), [(1000, [3]), (1001, [1, 1, 1])])
async def test_keep__temps_that_the_disk_takes_quickly__are_in_the_group_of_what_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, groups: list[int]
) -> None:
    monkeypatch.setattr("pyproxy.storage.cache.QUICK", 1000)
    kept: list[int] = []
    keep = Stock.keep

    def noted(stock: Stock, incoming: Sequence[Incoming], *, each: Each = map) -> None:
        kept.append(len(incoming))
        keep(stock, incoming, each=each)

    monkeypatch.setattr(Stock, "keep", noted)
    with opened(tmp_path / "data") as store:
        files = {"public/a": b"a" * size, "public/b": b"b" * size}
        keeping = [
            store.cache.keep(written(store, data), key, record_of(data), await store.cache.reserve(size))
            for key, data in files.items()
        ]
        keeping.append(store.cache.put(b"c", "public/c", record_of(b"c"), await store.cache.reserve(1)))

        assert set(await begun_at_once(store, keeping)) == {None}

        assert kept == groups
        assert {key: got(store, key) for key in files} == files
        assert_sound(store)


async def test_put__same_bytes_for_several__are_one_blob_written_once(tmp_path: Path) -> None:
    faults = Faults(errno.EIO)
    with opened(tmp_path / "data", fault=faults) as store:
        del faults.calls[:]
        files = {f"public/{name}": b"same" for name in "abc"}

        assert set((await together(store, files)).values()) == {None}

        assert faults.calls.count("write") == 1
        assert (store.cache.files, {key: got(store, key) for key in files}) == (1, files)
        assert_sound(store)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_put__any_call_of_a_group_fails__its_files_alone_are_not_kept(error: int) -> None:
    failed: list[str] = []
    while True:
        with in_memory() as path:
            kept, call = asyncio.run(with_failing(path / "data", error, len(failed) + 1))
            assert reopened_soundly(path / "data") == {key: FILES[key] for key in kept}
        if call is None:
            break
        failed.append(call)
        # One call costs one file, but for a folder that all are in. A commit is made again, for each by itself.
        assert len(kept) >= (len(FILES) - 1 if call not in {"open", "fsync"} else 0)
        assert call not in {"begin", "commit"} or kept == set(FILES)
    assert {"begin", "commit", "create", "fsync", "rename", "write"} <= set(failed)
    assert kept == set(FILES)


async def with_failing(path: Path, error: int, number: int) -> tuple[set[str], str | None]:
    """The files that a store kept while its so-manieth call failed, and that call; None where there was none."""
    faults = Faults(error)

    def arm() -> None:
        del faults.calls[:]
        faults.fail_next(number)

    with opened(path, fault=faults) as store:
        found = await together(store, FILES, arm)
        call = faults.calls[number - 1] if faults.fired else None
        faults.heal()
        assert all(trouble is None or isinstance(trouble, StoreTrouble) for trouble in found.values())
        assert {key for key in FILES if store.cache.find(key) is not None} == {
            key for key, trouble in found.items() if trouble is None
        }
        assert store.cache.reserved == 0
    return {key for key, trouble in found.items() if trouble is None}, call


async def test_put__one_file_too_large_for_the_cache__is_refused_and_the_others_are_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "data", limit=1000) as store:
        rooms = [await store.cache.reserve(400), await store.cache.reserve(400)]
        store.cache.limit = 500
        putting = [
            store.cache.put(data, key, record_of(data), room)
            for data, key, room in zip((b"a" * 400, b"b" * 600), ("public/a", "public/b"), rooms, strict=True)
        ]

        first, second = await asyncio.gather(*putting, return_exceptions=True)

        assert first is None
        assert isinstance(second, StoreFull)
        assert (got(store, "public/a"), store.cache.find("public/b")) == (b"a" * 400, None)
        assert_sound(store)


async def test_put__size_not_as_recorded__is_refused_and_the_others_are_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as store:
        wrong = msgspec.structs.replace(record_of(b"data"), size=5)
        putting = [
            store.cache.put(b"data", "public/wrong", wrong, await store.cache.reserve(4)),
            store.cache.put(b"right", "public/right", record_of(b"right"), await store.cache.reserve(5)),
        ]

        first, second = await asyncio.gather(*putting, return_exceptions=True)

        assert isinstance(first, StoreTrouble)
        assert second is None
        assert_sound(store)


def test_put__more_than_a_group_at_the_stop__are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "data"
    files = {f"public/{number}": str(number).encode() for number in range(2 * GROUP + 1)}

    async def put_and_stop() -> None:
        with opened(path) as store:
            putting = [asyncio.ensure_future(put(store, key, data)) for key, data in files.items()]
            await asyncio.sleep(0)
        await asyncio.gather(*putting)

    asyncio.run(put_and_stop())
    assert reopened_soundly(path) == files


def test_put__caller_cancelled__is_kept_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data"

    async def put_and_go() -> None:
        with opened(path) as store:
            putting = asyncio.ensure_future(put(store, "public/a", b"data"))
            await asyncio.sleep(0)
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting

    asyncio.run(put_and_go())
    assert reopened_soundly(path) == {"public/a": b"data"}


async def put(store: Store, key: str, data: bytes) -> None:
    await store.cache.put(data, key, record_of(data), await store.cache.reserve(len(data)))


async def test_put__closed__is_trouble_and_gives_its_room_back(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as store:
        room = await store.cache.reserve(4)

    with pytest.raises(StoreTrouble):
        await store.cache.put(b"data", "public/a", record_of(b"data"), room)

    assert store.cache.reserved == 0


async def test_put__more_waits_than_memory_may_hold__is_refused_and_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.storage.incoming.MEMORY", 10)
    with opened(tmp_path / "data") as store:
        assert await together(store, {"public/a": b"123456", "public/b": b"1234"}) == {
            "public/a": None,
            "public/b": None,
        }
        found = await together(store, {"public/c": b"12345", "public/d": b"123456", "public/e": b"67890"})
        await put(store, "public/d", b"abcdef")

        assert (found["public/c"], found["public/e"]) == (None, None)
        assert isinstance(found["public/d"], StoreTrouble)
        assert got(store, "public/d") == b"abcdef"
        assert_sound(store)


async def test_put__what_is_done_after_a_group_goes_wrong__the_next_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "data", limit=1000) as store:
        await put(store, "public/old", b"o" * 900)

        def broken(_nbytes: int) -> None:
            raise RuntimeError("a bug")

        store.cache.on_evicted = broken
        with monkeypatch.context() as patch:
            patch.setattr(Stock, "shrink", lambda _: 0)  # so that the group has to evict
            with pytest.raises(RuntimeError, match="a bug"):
                await put(store, "public/a", b"a" * 500)
        store.cache.on_evicted = lambda _: None

        await put(store, "public/b", b"b" * 100)

        assert got(store, "public/b") == b"b" * 100
        assert store.cache.reserved == 0


def test_spread__one_took_long__the_others_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyproxy.storage.incoming.SLOW", -1.0)
    all_there = threading.Barrier(3, timeout=10)

    def work(number: int) -> int:
        if number:
            all_there.wait()
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(spread(pool, work, range(4))) == [0, 1, 2, 3]


def test_spread__none_took_long__no_thread_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyproxy.storage.incoming.SLOW", 60.0)

    with ThreadPoolExecutor(1) as pool:
        names = set(spread(pool, lambda _: threading.current_thread(), range(3)))

    assert names == {threading.current_thread()}


def test_spread__pool_is_closing__goes_on_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyproxy.storage.incoming.SLOW", -1.0)
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    assert list(spread(pool, str, range(3))) == ["0", "1", "2"]


async def test_put__slow_disk__has_several_synced_at_once_and_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.storage.incoming.SLOW", -1.0)
    with opened(tmp_path / "data") as store:
        assert set((await together(store, FILES)).values()) == {None}

        assert {key: got(store, key) for key in FILES} == FILES
        assert_sound(store)
