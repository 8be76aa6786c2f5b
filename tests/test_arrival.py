"""One download, many readers; nothing unverified is ever a whole answer, and nothing unverified is kept."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from pyproxy.arrival import HOLD_BACK, Arrival, Landed, Open, Promise
from pyproxy.arrival.download import FIRST, INLINE, STEP
from pyproxy.arrivals import Arrivals
from pyproxy.errors import ContentWrong, RemoteFailed, StoreTrouble
from pyproxy.storage.disk import Disk
from pyproxy.storage.spool import WINDOW
from pyproxy.storage.temps import Temp
from tests.fakes.bodies import Part, ScriptedFile, opener
from tests.fakes.shelves import Shelf, client, read

BODY = bytes(range(256)) * 2048  # 512 KiB
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def arriving(
    open_: Open, shelf: Shelf, pool: ThreadPoolExecutor, promise: Promise, *, keep: bool = True, retries: int = 3
) -> Arrival:
    return Arrival("a-1.0-py3-none-any.whl", "far", promise, open_, shelf, keep=keep, retries=retries, executor=pool)


async def test_run__right_bytes__serves_and_keeps_them(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrivals = Arrivals()
    remote = ScriptedFile(BODY)
    arrival = arrivals.join("k", lambda: arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}, len(BODY))))

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert shelf.kept == {DIGEST: BODY}
    assert (list(shelf.tmp.iterdir()), shelf.reserved, arrival.spool and arrival.spool.fd) == ([], 0, -1)


async def test_join__many_clients__one_fetch_and_all_bodies_right(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    joined: list[int] = []
    arrivals = Arrivals(joined=lambda: joined.append(1))
    remote = ScriptedFile(BODY)

    def make() -> Arrival:
        return arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))

    bodies = await asyncio.gather(*(client(arrivals.join("k", make)) for _ in range(50)))

    assert all(body == BODY for body in bodies)
    assert (len(remote.asked), len(joined)) == (1, 49)
    await arrivals.close(grace=5)


async def test_sendable__before_the_end__lets_the_first_bytes_go(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=64 * 1024)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))
    task = asyncio.create_task(arrival.run())
    with arrival.reading():
        while arrival.arrived < 64 * 1024:
            await arrival.changed()

        assert arrival.sendable(arrival.total) == 64 * 1024
        gate.set()
        await arrival.whole()
        assert arrival.sendable(arrival.total) == len(BODY)
    await task


async def test_sendable__first_bytes__wait_for_no_thread(shelf: Shelf) -> None:
    busy = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(busy.wait)
        arrival = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST}))
        task = asyncio.create_task(arrival.run())
        try:
            with arrival.reading():
                while not arrival.arrived:
                    await arrival.changed()
                assert arrival.sendable(arrival.total) == FIRST
        finally:
            busy.set()
        await task
    assert shelf.kept == {DIGEST: BODY}


async def test_run__flipped_byte__no_client_gets_a_whole_body(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    wrong = bytearray(BODY)
    wrong[300_000] ^= 1
    arrivals = Arrivals()
    arrival = arrivals.join(
        "k", lambda: arriving(opener(ScriptedFile(bytes(wrong))), shelf, pool, Promise({"sha256": DIGEST}))
    )
    most = 0
    with pytest.raises(ContentWrong), arrival.reading() as reader:  # noqa: PT012 - as a client reads
        while True:
            most = max(most, arrival.sendable(len(BODY)))
            reader.passed(most)
            await arrival.changed()

    assert most <= len(BODY) - HOLD_BACK
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved) == ({}, [], 0)


@pytest.mark.parametrize("algorithm", ["md5", "sha512", "sha3_256", "blake2b", "blake2s"])
async def test_run__other_digests__are_checked_too(shelf: Shelf, pool: ThreadPoolExecutor, algorithm: str) -> None:
    right = hashlib.new(algorithm, BODY).hexdigest()
    good = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({algorithm: right.upper()}))
    bad = arriving(opener(ScriptedFile(BODY[:-1] + b"x")), shelf, pool, Promise({algorithm: right}))
    await good.run()
    await bad.run()

    assert good.landed is not None
    assert good.landed.verified == algorithm
    assert isinstance(bad.error, ContentWrong)


async def test_run__blake2b_of_32_bytes__is_checked(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    digest = hashlib.blake2b(BODY, digest_size=32).hexdigest()
    arrival = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"blake2b": digest}))
    await arrival.run()

    assert arrival.verified


async def test_run__cut_body__is_resumed_where_it_broke(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(breaks_at=200_000), Part()])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))
    await arrival.run()

    assert arrival.verified
    assert remote.asked == [(0, None), (200_000, '"v1"')]
    assert shelf.kept == {DIGEST: BODY}


async def test_run__cut_body_and_no_ranges__reads_over_what_is_here(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(breaks_at=200_000), Part(ignores_range=True)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))
    await arrival.run()

    assert shelf.kept == {DIGEST: BODY}


async def test_run__cut_for_ever__fails_after_the_retries(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(breaks_at=1000)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}), retries=2)
    await arrival.run()

    assert isinstance(arrival.error, RemoteFailed)
    assert len(remote.asked) == 3
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])


async def test_run__neither_digest_nor_validator__is_never_spliced(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(breaks_at=200_000), Part()], etag=None)
    arrival = arriving(opener(remote), shelf, pool, Promise({}))
    await arrival.run()

    assert isinstance(arrival.error, RemoteFailed)
    assert len(remote.asked) == 1


async def test_run__size_not_as_promised__fails_before_any_byte(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrival = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST}, len(BODY) + 1))
    await arrival.run()

    assert isinstance(arrival.error, ContentWrong)
    assert (arrival.headed, arrival.arrived) == (False, 0)


async def test_run__nothing_tells_the_end__is_refused(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(length_told=False, framed=False)])
    arrival = arriving(opener(remote), shelf, pool, Promise({}))
    await arrival.run()

    assert isinstance(arrival.error, ContentWrong)


async def test_run__close_delimited_but_hashed__is_kept(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    remote = ScriptedFile(BODY, [Part(length_told=False, framed=False)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))
    await arrival.run()

    assert shelf.kept == {DIGEST: BODY}


async def test_run__no_digest_but_framed__is_kept_as_such(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrival = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({}))
    await arrival.run()

    assert arrival.landed == Landed(arrival.landed.digest, len(BODY), "framing") if arrival.landed else False
    assert shelf.kept == {DIGEST: BODY}


async def test_run__disk_full_halfway__client_still_gets_everything(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    shelf = Shelf(tmp_path, full_at=100_000)
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved) == ({}, [], 0)


@pytest.mark.parametrize("full_at", [None, 200_000, 300_000])
async def test_run__what_has_come_meanwhile__is_hashed_and_kept_too(
    full_at: int | None, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """In one stay of a thread, whose last piece the disk may refuse."""
    shelf = Shelf(tmp_path, full_at=full_at)
    remote = ScriptedFile(BODY, [Part(step=INLINE)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}, len(BODY)))
    task = asyncio.create_task(arrival.run())

    assert await client(arrival) == BODY
    await task
    assert shelf.kept == ({DIGEST: BODY} if full_at is None else {})


async def test_run__comes_fast__is_never_taken_in_more_than_has_come_before(
    shelf: Shelf, pool: ThreadPoolExecutor
) -> None:
    """Beside the piece that it begins with; else a client would wait for most of a file of some megabytes."""
    body = BODY * 4
    remote = ScriptedFile(body, [Part(step=INLINE)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": hashlib.sha256(body).hexdigest()}, len(body)))
    task = asyncio.create_task(arrival.run())
    seen = [FIRST]
    with arrival.reading():
        while arrival.landed is None:
            await arrival.changed()
            seen.append(arrival.arrived)
    await task

    assert all(after <= 2 * before + INLINE for before, after in pairwise(seen))
    assert max(after - before for before, after in pairwise(seen)) > INLINE


async def test_run__room_is_short__reads_no_more_than_there_is_room_for(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    shelf = Shelf(tmp_path)
    body = BODY * 40  # more than a step of room, and its length is not told
    remote = ScriptedFile(body, [Part(step=INLINE, length_told=False)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": hashlib.sha256(body).hexdigest()}))
    shelf.limit = STEP
    task = asyncio.create_task(arrival.run())

    assert await client(arrival) == body
    await task
    assert shelf.most <= STEP


async def test_run__disk_full_and_large__takes_no_more_memory_than_the_window(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    big = os.urandom(1 << 20) * (2 * WINDOW // (1 << 20) + 2)
    shelf = Shelf(tmp_path, full_at=0)
    arrivals = Arrivals()
    promise = Promise({"sha256": hashlib.sha256(big).hexdigest()})
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(big)), shelf, pool, promise))
    with arrival.reading() as reader:
        await arrival.head()
        while arrival.spool is None or not arrival.spool.crowded:
            await arrival.changed()
        held = arrival.arrived
        body = await read(arrival, reader, arrival.total)

    assert held <= WINDOW + 32 * 1024
    assert body == big
    await arrivals.close(grace=5)


async def test_run__disk_full_and_nobody_reads__is_given_up(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    big = bytes(WINDOW + (1 << 20))
    arrival = arriving(
        opener(ScriptedFile(big)),
        Shelf(tmp_path, full_at=0),
        pool,
        Promise({"sha256": hashlib.sha256(big).hexdigest()}),
    )
    await arrival.run()

    assert isinstance(arrival.error, RemoteFailed)


async def test_run__larger_than_the_cache__is_served_and_not_kept(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    shelf = Shelf(tmp_path, limit=1000)
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])


async def test_run__policy_streamed__keeps_nothing(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrivals = Arrivals()
    arrival = arrivals.join(
        "k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST}), keep=False)
    )

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])


async def test_reading__client_that_goes__does_not_end_it_for_others(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    gate = asyncio.Event()
    arrivals = Arrivals()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=64 * 1024)])

    def make() -> Arrival:
        return arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))

    first = asyncio.create_task(client(arrivals.join("k", make)))
    second = asyncio.create_task(client(arrivals.join("k", make)))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()

    assert await second == BODY
    assert len(remote.asked) == 1
    await arrivals.close(grace=5)


async def test_join__after_a_failure__fetches_again(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrivals = Arrivals()
    remote = ScriptedFile(BODY, [Part(refuses=RemoteFailed("far", "answered 500"))])

    def make() -> Arrival:
        return arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))

    with pytest.raises(RemoteFailed, match="answered 500"):
        await client(arrivals.join("k", make))
    remote.parts = [Part()]

    assert await client(arrivals.join("k", make)) == BODY
    await arrivals.close(grace=5)


async def test_close__gives_up_what_is_under_way_and_leaves_nothing(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrivals = Arrivals()
    remote = ScriptedFile(BODY, [Part(gate=asyncio.Event(), first=1000)])
    waiting = asyncio.create_task(
        client(arrivals.join("k", lambda: arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))))
    )
    await asyncio.sleep(0)
    await arrivals.close()

    with pytest.raises(RemoteFailed):
        await waiting
    assert (len(arrivals), list(shelf.tmp.iterdir())) == (0, [])


# ---------------------------------------------------------------------- at each moment


async def test_run__empty_file__is_kept(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    arrival = arriving(opener(ScriptedFile(b"")), shelf, pool, Promise({"sha256": empty}))
    await arrival.run()

    assert (arrival.error, shelf.kept) == (None, {empty: b""})


async def test_run__no_descriptor_for_readers__is_passed_through(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    temp = shelf.temp()

    class Exhausted(Shelf):
        def temp(self) -> Temp:
            temp.discard()  # its descriptor cannot be duplicated
            return temp

    shelf.__class__ = Exhausted
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])


@pytest.mark.parametrize("turns", range(40))
async def test_join__at_any_moment__gets_the_whole_body(shelf: Shelf, pool: ThreadPoolExecutor, turns: int) -> None:
    small = BODY[:70_000]
    arrivals = Arrivals()
    remote = ScriptedFile(small)

    def make() -> Arrival:
        return arriving(opener(remote), shelf, pool, Promise({"sha256": hashlib.sha256(small).hexdigest()}))

    first = asyncio.create_task(client(arrivals.join("k", make)))
    for _ in range(turns):
        await asyncio.sleep(0)

    assert await client(arrivals.join("k", make)) == small
    assert await first == small
    await arrivals.close(grace=5)


async def test_join__over_and_not_yet_forgotten__begins_another(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrivals = Arrivals()
    remote = ScriptedFile(BODY)

    def make() -> Arrival:
        return arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))

    over = arrivals.join("k", make)
    while over.spool is None or over.spool.fd >= 0:  # noqa: ASYNC110 - the very step that closes it is looked for
        await asyncio.sleep(0)

    assert await client(arrivals.join("k", make)) == BODY
    await arrivals.close(grace=5)


@pytest.mark.parametrize("turns", range(30))
async def test_client__cancelled_at_any_moment__leaves_nothing_open(
    shelf: Shelf, pool: ThreadPoolExecutor, turns: int
) -> None:
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))
    leaving = asyncio.create_task(client(arrival))
    for _ in range(turns):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await arrivals.close(grace=5)

    assert shelf.kept == {DIGEST: BODY}
    assert arrival.spool is not None
    assert arrival.spool.fd == -1


@pytest.mark.parametrize("turns", range(30))
async def test_close__at_any_moment__tells_the_readers_and_leaves_nothing(
    shelf: Shelf, pool: ThreadPoolExecutor, turns: int
) -> None:
    arrivals = Arrivals()
    remote = ScriptedFile(BODY, [Part(gate=asyncio.Event(), first=200_000)])
    arrival = arrivals.join("k", lambda: arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST})))
    waiting = asyncio.create_task(client(arrival))
    for _ in range(turns):
        await asyncio.sleep(0)
    await arrivals.close()

    with pytest.raises(RemoteFailed, match="given up"):
        await asyncio.wait_for(waiting, 5)
    assert (len(arrivals), list(shelf.tmp.iterdir()), shelf.reserved) == (0, [], 0)
    assert arrival.spool is None or arrival.spool.fd == -1


async def test_run__validator_changed_and_no_digest__is_never_spliced(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    class Replaced(ScriptedFile):
        """Another file of the same length, once the first answer has broken off."""

        def open(self, start: int, if_range: str | None) -> object:  # type: ignore[override]  # passed on as it is
            if start:
                self.body, self.etag = bytes(len(BODY)), '"v2"'
            return super().open(start, if_range)

    remote = Replaced(BODY, [Part(breaks_at=200_000), Part(ignores_range=True)])
    arrival = arriving(opener(remote), shelf, pool, Promise({}))
    await arrival.run()

    assert isinstance(arrival.error, ContentWrong)
    assert shelf.kept == {}


async def test_run__resumed_part_without_total__keeps_what_was_told_before(
    shelf: Shelf, pool: ThreadPoolExecutor
) -> None:
    remote = ScriptedFile(BODY, [Part(breaks_at=200_000), Part(length_told=False)])
    arrival = arriving(opener(remote), shelf, pool, Promise({"sha256": DIGEST}))
    await arrival.run()

    assert (arrival.total, arrival.verified) == (len(BODY), True)


# ---------------------------------------------------------------------- passed through: the disk refuses

BIG = os.urandom(1 << 20) * (2 * WINDOW // (1 << 20) + 2)
BIG_PROMISE = Promise({"sha256": hashlib.sha256(BIG).hexdigest()})


@pytest.fixture
def full(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, full_at=0)


async def crowded(arrival: Arrival) -> None:
    """Returns once the window is full."""
    while arrival.spool is None or not arrival.spool.crowded:  # noqa: ASYNC110 - nobody is told of that
        await asyncio.sleep(0)


async def test_reading__slow_reader_that_goes__does_not_hold_up_the_fast_one(
    full: Shelf, pool: ThreadPoolExecutor
) -> None:
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BIG)), full, pool, BIG_PROMISE))
    fast = asyncio.create_task(client(arrival))
    with arrival.reading():  # and does not read
        await crowded(arrival)
        for _ in range(10):
            await asyncio.sleep(0)

    assert await asyncio.wait_for(fast, 10) == BIG
    await arrivals.close(grace=5)


async def test_reading__who_waits_for_the_verdict__does_not_hold_up_the_download(
    full: Shelf, pool: ThreadPoolExecutor
) -> None:
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BIG)), full, pool, BIG_PROMISE))

    async def verdict() -> Landed:
        with arrival.reading():
            return await arrival.whole()

    patient = asyncio.create_task(verdict())
    fast = asyncio.create_task(client(arrival))

    assert await asyncio.wait_for(fast, 10) == BIG
    assert (await patient).size == len(BIG)
    await arrivals.close(grace=5)


async def test_join__beginning_is_gone__begins_another_and_close_ends_both(
    full: Shelf, pool: ThreadPoolExecutor
) -> None:
    arrivals = Arrivals()
    gate = asyncio.Event()
    remote = ScriptedFile(BIG, [Part(gate=gate, first=WINDOW // 2)])

    def make() -> Arrival:
        return arriving(opener(remote), full, pool, BIG_PROMISE)

    first = arrivals.join("k", make)
    ahead = asyncio.create_task(client(first))
    while first.joinable:  # noqa: ASYNC110 - nobody is told of that
        await asyncio.sleep(0)
    second = arrivals.join("k", make)

    assert second is not first
    assert len(arrivals) == 2
    await arrivals.close()
    with pytest.raises(RemoteFailed, match="given up"):
        await ahead
    assert (len(arrivals), list(full.tmp.iterdir()), full.reserved) == (0, [], 0)


# ---------------------------------------------------------------------- room on disk


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("told", [True, False])
async def test_run__no_room_for_all_of_it__disk_takes_what_was_reserved_and_memory_the_rest(
    tmp_path: Path, pool: ThreadPoolExecutor, *, keep: bool, told: bool
) -> None:
    shelf = Shelf(tmp_path, limit=STEP)
    arrivals = Arrivals()
    promise = Promise(BIG_PROMISE.hashes, len(BIG) if told else None)
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BIG)), shelf, pool, promise, keep=keep))

    assert await asyncio.wait_for(client(arrival), 10) == BIG
    await arrivals.close(grace=5)
    assert shelf.most == 0 if told else STEP // 2 < shelf.most <= STEP
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved) == ({}, [], 0)


async def test_run__policy_streamed__room_is_taken_until_the_last_reader_has_gone(
    shelf: Shelf, pool: ThreadPoolExecutor
) -> None:
    arrival = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST}), keep=False)
    with arrival.reading():
        await arrival.run()

        assert shelf.reserved == len(BODY)
    assert shelf.reserved == 0


async def test_run__size_told_by_the_remote_alone__room_grows_with_what_comes(
    shelf: Shelf, pool: ThreadPoolExecutor
) -> None:
    arrivals = Arrivals()
    remote = ScriptedFile(BIG, [Part(gate=asyncio.Event(), first=64 * 1024)])
    arrival = arrivals.join("k", lambda: arriving(opener(remote), shelf, pool, BIG_PROMISE))
    with arrival.reading():
        while not arrival.arrived:
            await arrival.changed()

        assert (arrival.total, shelf.reserved) == (len(BIG), STEP)
    await arrivals.close()


async def test_changed__failed__each_reader_gets_an_error_of_its_own(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    refusal = RemoteFailed("far", "answered 503", final=True, retry_after=3.0)
    arrival = arriving(opener(ScriptedFile(BODY, [Part(refuses=refusal)])), shelf, pool, Promise({"sha256": DIGEST}))
    await arrival.run()
    met: list[RemoteFailed] = []
    for wait in (arrival.head, arrival.changed, arrival.changed):
        with pytest.raises(RemoteFailed) as caught:
            await wait()
        met.append(caught.value)

    assert len({id(error) for error in (refusal, *met)}) == 4
    assert {(type(e), str(e), e.remote, e.why, e.final, e.retry_after) for e in met} == {
        (RemoteFailed, "remote far: answered 503", "far", "answered 503", True, 3.0)
    }


async def test_reader__that_has_it_all__finds_it_stored(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    assert shelf.kept == {DIGEST: BODY}
    await arrivals.close(grace=5)


async def test_disk__slow__holds_the_end_of_answers_back_for_a_moment_only(
    shelf: Shelf, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.arrival.download.STORING", 0.05)
    synced = asyncio.Event()

    class Slow(Shelf):
        async def keep(self, temp: Temp, landed: Landed, room: object) -> None:
            await synced.wait()
            await super().keep(temp, landed, room)

    shelf.__class__ = Slow
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    assert shelf.kept == {}
    synced.set()
    await arrivals.close(grace=5)
    assert shelf.kept == {DIGEST: BODY}


async def test_run__large_file__is_synced_while_it_comes(
    shelf: Shelf, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.arrival.download.SYNC", 100_000)
    sizes: list[int] = []
    monkeypatch.setattr(Temp, "sync_so_far", lambda temp: sizes.append(temp.size))
    arrival = arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST}))
    await arrival.run()

    assert shelf.kept == {DIGEST: BODY}
    assert min(sizes) >= 100_000
    assert len(sizes) <= len(BODY) // 100_000


async def test_run__disk_fails_to_take_what_it_had_taken__is_served_and_not_kept(
    shelf: Shelf, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.arrival.download.SYNC", 100_000)
    failed = threading.Event()

    def fail(disk: Disk, fd: int, path: Path) -> None:
        del disk, fd, path
        failed.set()
        raise StoreTrouble("cannot fdatasync")

    class Syncing(Shelf):
        async def keep(self, temp: Temp, landed: Landed, room: object) -> None:
            assert failed.is_set()
            await super().keep(temp.handed_over(), landed, room)

    monkeypatch.setattr(Disk, "sync_data", fail)
    shelf.__class__ = Syncing
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])


async def test_store__fails__the_end_of_answers_comes_at_once(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    class Failing(Shelf):
        async def keep(self, temp: Temp, landed: Landed, room: object) -> None:
            del temp, landed, room
            raise StoreTrouble("no")

    shelf.__class__ = Failing
    arrivals = Arrivals()
    arrival = arrivals.join("k", lambda: arriving(opener(ScriptedFile(BODY)), shelf, pool, Promise({"sha256": DIGEST})))

    assert await client(arrival) == BODY
    await arrivals.close(grace=5)
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])
