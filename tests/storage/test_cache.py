from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from pyproxy.errors import BlobDamaged, StoreFull, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage import stock as stock_module
from pyproxy.storage import uses as uses_module
from pyproxy.storage import writer as writer_module
from pyproxy.storage.blobs import Blobs, Each
from pyproxy.storage.cache import THREADS
from pyproxy.storage.stock import Stock
from pyproxy.storage.store import Store
from pyproxy.storage.temps import Temp
from tests.storage.stores import assert_sound, digest_of, got, on_disk, opened, put, record_of, temps, written

LIMIT = 1000
KEY = "public/a"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path, limit=LIMIT) as made:
        yield made
        assert_sound(made)


# ---------------------------------------------------------------------- keep and find


async def test_find__never_stored__is_none(store: Store) -> None:
    assert store.cache.find(KEY) is None
    assert store.cache.holds(digest_of(b"x")) is None
    assert (store.cache.bytes, store.cache.files) == (0, 0)


async def test_keep__returned__is_found_and_bit_exact(store: Store) -> None:
    record = await put(store, KEY, b"data")
    assert store.cache.find(KEY) == record
    assert got(store, KEY) == b"data"
    assert store.cache.holds(record.digest) == 4
    assert (store.cache.bytes, store.cache.files, store.cache.reserved) == (4, 1, 0)


async def test_keep__restarted__is_found_and_bit_exact(path: Path) -> None:
    with opened(path) as store:
        await put(store, KEY, b"data")
    with opened(path) as store:
        assert got(store, KEY) == b"data"
        assert (store.cache.bytes, store.cache.files) == (4, 1)


async def test_keep__same_bytes_under_another_key__is_one_blob(store: Store) -> None:
    await put(store, KEY, b"data")
    inode = store.blobs.path(digest_of(b"data")).stat().st_ino
    await put(store, "public/b", b"data")
    assert (store.cache.bytes, store.cache.files) == (4, 1)
    assert got(store, KEY) == got(store, "public/b") == b"data"
    assert store.blobs.path(digest_of(b"data")).stat().st_ino == inode


async def test_keep__many_at_once_of_one_digest__is_one_blob(store: Store) -> None:
    await asyncio.gather(*(put(store, f"public/{at}", b"data") for at in range(8)))
    assert (store.cache.bytes, store.cache.files) == (4, 1)
    assert all(got(store, f"public/{at}") == b"data" for at in range(8))


async def test_keep__size_not_as_recorded__is_refused_and_leaves_nothing(store: Store) -> None:
    reservation = await store.cache.reserve(10)
    record = msgspec.structs.replace(record_of(b"data"), size=5)
    with pytest.raises(StoreTrouble, match="4 bytes were written of 5"):
        await store.cache.keep(written(store, b"data"), KEY, record, reservation)
    assert store.cache.find(KEY) is None
    assert store.cache.reserved == 0


async def test_keep__caller_cancelled__goes_on_and_owns_temp_and_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    adopt = Blobs.adopt_all

    def slow(blobs: Blobs, temps: Sequence[tuple[Temp, Sha256]], *, each: Each) -> list[StoreTrouble | None]:
        begun.set()
        assert go_on.wait(10)
        return adopt(blobs, temps, each=each)

    monkeypatch.setattr(Blobs, "adopt_all", slow)
    with opened(path) as store:
        reservation = await store.cache.reserve(4)
        temp = written(store, b"data")
        keeping = asyncio.ensure_future(store.cache.keep(temp, KEY, record_of(b"data"), reservation))
        await asyncio.to_thread(begun.wait, 10)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        temp.discard()
        reservation.release()
        assert store.cache.reserved == 4
        go_on.set()
    assert store.cache.reserved == 0
    with opened(path) as store:
        assert got(store, KEY) == b"data"


async def test_keep__temp_given_away_before__leaves_the_reservation_to_the_caller(store: Store) -> None:
    reservation = await store.cache.reserve(4)
    temp = written(store, b"data")
    temp.discard()
    with pytest.raises(StoreTrouble):
        await store.cache.keep(temp, KEY, record_of(b"data"), reservation)
    assert store.cache.reserved == 4
    reservation.release()


async def test_put__bytes__are_found_and_bit_exact(store: Store) -> None:
    record = record_of(b"data")
    await store.cache.put(b"data", KEY, record, await store.cache.reserve(4))
    assert got(store, KEY) == b"data"
    assert (store.cache.bytes, store.cache.files, store.cache.reserved) == (4, 1, 0)


@pytest.mark.parametrize("fails", ["temp", "write", "adopt_all"])
async def test_put__disk_refuses__leaves_nothing(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(Temp if fails == "write" else Blobs, fails, refuse)
    with pytest.raises(StoreFull):
        await store.cache.put(b"data", KEY, record_of(b"data"), await store.cache.reserve(4))
    assert store.cache.find(KEY) is None
    assert store.cache.reserved == 0
    assert temps(path) == []


async def test_link__blob_held_and_not__records_or_refuses(store: Store) -> None:
    record = record_of(b"data")
    assert not await store.cache.link(KEY, record)
    await put(store, "public/b", b"data")
    assert await store.cache.link(KEY, record)
    assert got(store, KEY) == b"data"


async def test_drop__one_of_two_files__keeps_the_blob_for_the_other(store: Store) -> None:
    await put(store, KEY, b"data")
    await put(store, "public/b", b"data")
    await store.cache.drop(KEY)
    assert store.cache.find(KEY) is None
    assert got(store, "public/b") == b"data"
    await store.cache.drop("public/b")
    await store.cache.drop("public/never")
    assert (store.cache.bytes, store.cache.files) == (0, 0) == on_disk(store.path)


# ---------------------------------------------------------------------- room


async def test_reserve__more_than_the_limit__is_full_at_once_and_evicts_nothing(store: Store) -> None:
    await put(store, KEY, bytes(900))
    with pytest.raises(StoreFull, match="1001 bytes do not fit into a cache of 1000"):
        await store.cache.reserve(1001)
    assert store.cache.find(KEY) is not None
    assert store.cache.reserved == 0


async def test_reserve__taken_by_downloads_under_way__is_full_and_evicts_nothing(store: Store) -> None:
    await put(store, KEY, bytes(100))
    first = await store.cache.reserve(900)
    with pytest.raises(StoreFull, match="under way"):
        await store.cache.reserve(101)
    assert store.cache.find(KEY) is not None
    first.release()
    first.release()
    assert store.cache.reserved == 0
    (await store.cache.reserve(101)).release()


async def test_reserve__no_room_left__evicts_the_longest_unused_and_no_more(store: Store) -> None:
    for name in "abc":
        await put(store, f"public/{name}", name.encode() * 300)
    got(store, "public/a")
    (await store.cache.reserve(200)).release()
    assert [store.cache.find(f"public/{name}") is None for name in "abc"] == [False, True, False]
    assert store.cache.bytes == 600
    assert on_disk(store.path) == (600, 2)


async def test_reserve__fits_to_the_byte__evicts_nothing(store: Store) -> None:
    await put(store, KEY, bytes(900))
    (await store.cache.reserve(100)).release()
    assert store.cache.find(KEY) is not None


async def test_grow__beyond_what_fits__keeps_what_was_reserved(store: Store) -> None:
    reservation = await store.cache.reserve(600)
    await reservation.grow(400)
    assert store.cache.reserved == reservation.nbytes == 1000
    with pytest.raises(StoreFull):
        await reservation.grow(1)
    assert store.cache.reserved == 1000
    reservation.release()


async def test_keep__without_enough_room_reserved__makes_it_and_stays_within_the_limit(store: Store) -> None:
    await put(store, KEY, bytes(900))
    reservation = await store.cache.reserve(0)
    await store.cache.keep(written(store, b"b" * 500), "public/b", record_of(b"b" * 500), reservation)
    assert store.cache.find(KEY) is None
    assert store.cache.bytes == 500
    reservation = await store.cache.reserve(0)
    with pytest.raises(StoreFull):
        await store.cache.keep(written(store, b"c" * 1001), "public/c", record_of(b"c" * 1001), reservation)
    assert got(store, "public/b") == b"b" * 500


async def test_limit__lowered__is_reached_by_shrinking(store: Store) -> None:
    evicted: list[int] = []
    store.cache.on_evicted = evicted.append
    for name in "abc":
        await put(store, f"public/{name}", name.encode() * 300)
    store.cache.limit = 700
    assert await store.cache.shrink() == 300
    assert evicted == [300]
    assert await store.cache.shrink() == 0
    assert store.cache.find("public/a") is None
    assert store.cache.find("public/b") is not None


async def test_shrink__more_than_one_portion__goes_on_to_the_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_module, "PORTION", 2)
    for at in range(9):
        await put(store, f"public/{at}", bytes([at]) * 10)
    store.cache.limit = 30
    assert await store.cache.shrink() == 60
    assert [at for at in range(9) if store.cache.find(f"public/{at}")] == [6, 7, 8]


async def test_shrink__longer_than_anybody_waits__makes_the_next_start_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path, limit=LIMIT) as store:
        await put(store, KEY, bytes(900))
        begun, go_on = threading.Event(), threading.Event()

        def hold(_txn: object) -> None:
            begun.set()
            assert go_on.wait(10)

        store.records.writer.submit(hold)
        await asyncio.to_thread(begun.wait, 10)
        monkeypatch.setattr(writer_module, "PATIENCE", 0.01)
        store.cache.limit = 500
        with pytest.raises(StoreTrouble, match="took longer than"):
            await store.cache.shrink()
        assert store.cache.stock.untidy
        monkeypatch.undo()
        go_on.set()
    assert not (path / "cache" / "clean").exists()
    with opened(path, limit=LIMIT) as store:
        await store.reconcile()
        assert_sound(store)


async def test_reserve__disk_nearly_full__evicts_though_the_limit_would_allow(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, KEY, b"a" * 300)
    await put(store, "public/b", b"b" * 300)
    monkeypatch.setattr("pyproxy.storage.cache.SPARE_DISK", 0)
    monkeypatch.setattr(type(store.disk), "free", lambda _disk, _path: 100)
    (await store.cache.reserve(300)).release()
    assert store.cache.find(KEY) is None
    assert store.cache.find("public/b") is not None
    with pytest.raises(StoreFull, match="the disk is full"):
        await store.cache.reserve(401)
    assert store.cache.find("public/b") is not None
    assert store.cache.reserved == 0


# ---------------------------------------------------------------------- readers and eviction


async def test_open__evicted_meanwhile__reads_on_to_the_end(store: Store) -> None:
    blob = store.cache.open(await put(store, KEY, b"a" * 900))
    (await store.cache.reserve(1000)).release()
    assert store.cache.find(KEY) is None
    assert os.pread(blob.fd, 1000, 0) == b"a" * 900
    blob.close()


async def test_open__evicted_between_find_and_open__is_damage_and_not_mended(store: Store) -> None:
    record = await put(store, KEY, b"a" * 900)
    (await store.cache.reserve(1000)).release()
    with pytest.raises(BlobDamaged):
        store.cache.open(record)
    assert await store.cache.mend(record) is False


async def test_keep__while_the_same_blob_is_evicted__stays_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is gone, its file not yet; then the same bytes are stored anew; then the file would be unlinked."""
    await put(store, KEY, b"a" * 900)
    row_gone, go_on = threading.Event(), threading.Event()
    unlink = Stock.unlink

    def late(stock: Stock, digests: Iterator[Sha256]) -> None:
        wanted = [digest_of(b"a" * 900)]
        assert list(digests) == wanted
        row_gone.set()
        assert go_on.wait(10)
        unlink(stock, wanted)

    monkeypatch.setattr(Stock, "unlink", late)
    evicting = asyncio.ensure_future(store.cache.reserve(1000))
    await asyncio.to_thread(row_gone.wait, 10)
    assert store.cache.find(KEY) is None
    store.cache.limit = 2000
    record = await put(store, "public/again", b"a" * 900)
    go_on.set()
    (await evicting).release()
    assert got(store, "public/again") == b"a" * 900
    assert store.cache.find("public/again") == record


async def test_unlink__of_a_blob_that_is_being_kept__leaves_its_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted, go_on = threading.Event(), threading.Event()
    adopt = Blobs.adopt_all

    def slow(blobs: Blobs, temps: Sequence[tuple[Temp, Sha256]], *, each: Each) -> list[StoreTrouble | None]:
        found = adopt(blobs, temps, each=each)
        adopted.set()
        assert go_on.wait(10)
        return found

    monkeypatch.setattr(Blobs, "adopt_all", slow)
    keeping = asyncio.ensure_future(put(store, KEY, b"data"))
    await asyncio.to_thread(adopted.wait, 10)
    await asyncio.to_thread(store.cache.stock.unlink, [digest_of(b"data")])
    go_on.set()
    await keeping
    assert got(store, KEY) == b"data"


async def test_keep__same_blob_evicted_just_then_by_another_process__is_stored_from_the_new_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []

    def stood(*look: object) -> bool:
        looks.append(look)
        return True  # but it is gone when its row is to be written

    monkeypatch.setattr(Stock, "_stands", stood)
    await put(store, KEY, b"data")
    assert looks
    assert got(store, KEY) == b"data"


async def test_keep__again_under_a_lower_limit__evicts_others_and_not_itself(store: Store) -> None:
    await put(store, KEY, b"a" * 400)
    await put(store, "public/b", b"b" * 400)
    reservation = await store.cache.reserve(0)
    store.cache.limit = 500
    await store.cache.keep(written(store, b"a" * 400), "public/again", record_of(b"a" * 400), reservation)
    assert store.cache.bytes == 400
    assert got(store, KEY) == got(store, "public/again") == b"a" * 400


async def test_shrink__in_one_commit_with_a_keep__counts_its_bytes_once(store: Store) -> None:
    await put(store, KEY, b"a" * 500)
    begun, go_on = threading.Event(), threading.Event()

    def hold(_txn: object) -> None:
        begun.set()
        assert go_on.wait(10)

    store.records.writer.submit(hold)
    await asyncio.to_thread(begun.wait, 10)
    queued = store.records.writer._queue.qsize
    keeping = asyncio.ensure_future(put(store, "public/b", b"b" * 500))
    await until(lambda: queued() == 1)
    shrinking = asyncio.ensure_future(store.cache.shrink())
    await until(lambda: queued() == 2)
    go_on.set()
    await keeping
    assert await shrinking == 0
    assert store.cache.find(KEY) is not None


async def until(met: Callable[[], bool]) -> None:
    """Lets others run until it is so."""
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110 - other threads
            await asyncio.sleep(0)


async def test_keep__cancelled_before_a_thread_was_free__is_done_all_the_same(path: Path) -> None:
    with opened(path) as store:
        go_on = threading.Event()
        busy = [asyncio.ensure_future(store.cache.run(lambda: go_on.wait(10))) for _ in range(THREADS)]
        reservation = await store.cache.reserve(4)
        keeping = asyncio.ensure_future(store.cache.keep(written(store, b"data"), KEY, record_of(b"data"), reservation))
        await asyncio.sleep(0)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        go_on.set()
        await asyncio.gather(*busy)
    assert store.cache.reserved == 0
    with opened(path) as store:
        assert got(store, KEY) == b"data"


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", ["gone", "cut", "longer", "flipped"])
async def test_mend__damaged__drops_it_for_all_its_files(store: Store, damage: str) -> None:
    record = await put(store, KEY, b"data")
    await put(store, "public/b", b"data")
    file = store.blobs.path(record.digest)
    match damage:
        case "gone":
            file.unlink()
        case "cut":
            file.write_bytes(b"dat")
        case "longer":
            file.write_bytes(b"data!")
        case _:
            file.write_bytes(b"dbta")
            os.utime(file, (1, 1))  # of times that differ by less than a tick some kernels make one
    with pytest.raises(BlobDamaged):
        store.cache.open(record)
    assert await store.cache.mend(record) is False
    assert store.cache.find(KEY) is None
    assert store.cache.find("public/b") is None
    assert (store.cache.bytes, store.cache.files) == (0, 0) == on_disk(store.path)
    await put(store, KEY, b"data")
    assert got(store, KEY) == b"data"


async def test_mend__only_the_time_changed__keeps_it(store: Store) -> None:
    record = await put(store, KEY, b"data")
    os.utime(store.blobs.path(record.digest), (1, 1))
    with pytest.raises(BlobDamaged, match="changed after it was stored"):
        store.cache.open(record)
    assert await store.cache.mend(record) is True
    assert got(store, KEY) == b"data"


async def test_mend__asked_by_many__reads_the_blob_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await put(store, KEY, b"data")
    os.utime(store.blobs.path(record.digest), (1, 1))
    looks: list[str] = []
    sound = Blobs.is_sound

    everybody_asked = threading.Event()

    def counting(blobs: Blobs, digest: Sha256) -> bool:
        looks.append(digest)
        everybody_asked.wait(10)
        return sound(blobs, digest)

    monkeypatch.setattr(Blobs, "is_sound", counting)
    asking = [asyncio.create_task(store.cache.mend(record)) for _ in range(20)]
    await asyncio.sleep(0)
    everybody_asked.set()

    assert await asyncio.gather(*asking) == [True] * 20
    assert len(looks) == 1


async def test_mend__stored_anew_meanwhile__keeps_the_new_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await put(store, KEY, b"data")
    file = store.blobs.path(record.digest)
    file.write_bytes(b"dbta")
    os.utime(file, (1, 1))
    reading, go_on = threading.Event(), threading.Event()
    sound = Blobs.is_sound

    def slow(blobs: Blobs, digest: Sha256) -> bool:
        result = sound(blobs, digest)
        reading.set()
        assert go_on.wait(10)
        return result

    monkeypatch.setattr(Blobs, "is_sound", slow)
    mending = asyncio.ensure_future(store.cache.mend(record))
    await asyncio.to_thread(reading.wait, 10)
    await put(store, "public/b", b"data")
    go_on.set()
    assert await mending is True
    assert got(store, KEY) == got(store, "public/b") == b"data"


# ---------------------------------------------------------------------- uses


async def test_touch__flushed__decides_who_goes_after_a_restart(path: Path) -> None:
    with opened(path, limit=LIMIT) as store:
        for name in "abc":
            await put(store, f"public/{name}", name.encode() * 300)
        store.cache.touch(digest_of(b"a" * 300))
        store.cache.touch(digest_of(b"b" * 300))
        store.cache.touch(digest_of(b"never held"))
    with opened(path, limit=LIMIT) as store:
        (await store.cache.reserve(700)).release()
        assert [store.cache.find(f"public/{name}") is None for name in "abc"] == [True, False, True]


async def test_touch__earlier_than_what_is_written__moves_nothing_back(store: Store) -> None:
    record = await put(store, KEY, b"data")
    before = store.records.blob(record.digest)
    await store.records.writer.write(lambda txn: store.records.ledger.touch(txn, [(record.digest, 1)]))
    assert store.records.blob(record.digest) == before


async def test_touch__flush_failing__is_noted_still_and_not_over_a_later_use(store: Store) -> None:
    uses = store.cache._uses
    first, second = digest_of(b"1"), digest_of(b"2")
    uses.note(first)
    uses.note(second)
    taken = uses.take()
    uses.note(first)
    later = dict(uses.noted())[first]
    uses.give_back(taken)
    assert dict(uses.noted()) == {first: later, second: taken[second]}
    assert later > taken[first]


async def test_touch__clock_set_back__still_counts_as_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path, limit=LIMIT) as store:
        for name in "ab":
            await put(store, f"public/{name}", name.encode() * 300)
    with opened(path, limit=LIMIT) as store:
        monkeypatch.setattr(store.cache._uses, "_clock", lambda: 1.0)
        got(store, "public/a")
        (await store.cache.reserve(600)).release()
        assert store.cache.find("public/a") is not None
        assert store.cache.find("public/b") is None


@pytest.mark.parametrize("limit", ["FLUSH_ENTRIES", "FLUSH_SECONDS"])
async def test_touch__many_or_long_ago__is_written_down_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    record = await put(store, KEY, b"data")
    await store.cache.flush()
    before = store.records.blob(record.digest)
    flushed = threading.Event()
    flush = Stock.flush

    def telling(stock: Stock) -> None:
        flush(stock)
        flushed.set()

    monkeypatch.setattr(Stock, "flush", telling)
    monkeypatch.setattr(uses_module, limit, 0)
    store.cache.touch(record.digest)
    assert await asyncio.to_thread(flushed.wait, 10)
    assert store.records.blob(record.digest) != before


async def test_closed__everything_that_waits__is_trouble_and_frees_what_it_took(path: Path) -> None:
    with opened(path) as store:
        record = await put(store, KEY, b"data")
        reservation = await store.cache.reserve(1)
        temp = written(store, b"x")
    for waiting in (
        store.cache.keep(temp, "public/x", record_of(b"x"), reservation),
        store.cache.mend(record),
        store.cache.drop(KEY),
        store.cache.reserve(1),
        store.cache.link("public/b", record),
    ):
        with pytest.raises(StoreTrouble):
            await waiting
    store.cache.touch(record.digest)
    assert store.cache.reserved == 0
    assert temps(path) == []


async def test_reserve__room_held_by_what_is_being_stored__waits_for_it_and_evicts(store: Store) -> None:
    first = record_of(b"a" * 900)
    room = await store.cache.reserve(900)
    storing = asyncio.create_task(store.cache.keep(written(store, b"a" * 900), KEY, first, room))
    await asyncio.sleep(0)  # handed to its thread, not yet committed

    second = await put(store, "public/b", b"b" * 500)

    await storing
    assert store.cache.find(KEY) is None
    assert store.cache.find("public/b") == second


async def test_reserve__while_a_blob_is_committed__counts_it_and_evicts(path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    armed = False

    def hold(what: str) -> None:
        if what == "commit" and armed:
            begun.set()
            assert go_on.wait(10)

    with opened(path, limit=LIMIT, fault=hold) as store:
        await put(store, KEY, b"a" * 400)
        armed = True
        storing = asyncio.create_task(put(store, "public/b", b"b" * 400))
        await asyncio.to_thread(begun.wait, 10)  # neither reserved any more nor seen by others yet

        reserving = asyncio.create_task(store.cache.reserve(400))
        await until(lambda: reserving.done() or store.records.writer._queue.qsize() == 1)
        go_on.set()

        (await reserving).release()
        await storing
        assert store.cache.find(KEY) is None
        assert store.cache.bytes == 400
        assert_sound(store)
