"""One download among workers: one fetch, read along by all, taken over where its worker dies."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pyproxy.arrival import HOLD_BACK, Arrival, Promise
from pyproxy.errors import ContentWrong, RemoteFailed
from pyproxy.fellows import Board, Downloads, Notice, Shared, Shares, Turn
from pyproxy.fellows.turns import SharedTurns
from pyproxy.model import Sha256
from pyproxy.shared_arrival import SharedArrival, Sharing
from pyproxy.storage.cache import OpenBlob
from pyproxy.storage.spool import Spool
from tests.fakes.bodies import Part, ScriptedFile, opener
from tests.fakes.shelves import Shelf, client

BODY = bytes(range(256)) * 2048  # 512 KiB
DIGEST = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2


class Turns(SharedTurns):
    """Turns of workers that are in one process: the kernel's are a process's."""

    def __init__(self, folder: Path, taken: dict[str, Worker], worker: Worker) -> None:
        super().__init__(folder / "turns")
        self._taken = taken
        self._worker = worker

    def try_take(self, key: str) -> Turn | None:
        if key in self._taken:
            return None
        self._taken[key] = self._worker
        return Turn(lambda: self._give(key))

    def _give(self, key: str) -> None:
        if self._taken.get(key) is self._worker:
            del self._taken[key]


class Worker:
    """One of several, with a store that is everybody's."""

    def __init__(self, daemon: Daemon, index: int) -> None:
        self.daemon = daemon
        self.joined = 0
        turns = Turns(daemon.folder, daemon.taken, self)
        turns.joined = self._join
        self.shared = Shared(turns, Downloads(daemon.board, index), Shares(daemon.board, index))
        self.tasks: list[asyncio.Task[None]] = []

    def _join(self) -> None:
        self.joined += 1

    def begin(
        self, remote: ScriptedFile, shelf: Shelf, promise: Promise | None = None, *, keep: bool = True, retries: int = 3
    ) -> Arrival:
        """The download as this worker has it, begun."""
        arrival = SharedArrival(
            "a-1.0-py3-none-any.whl",
            "far",
            promise or Promise({"sha256": DIGEST}, len(BODY)),
            opener(remote),
            shelf,
            sharing=Sharing(self.shared, "k", shelf.tmp, partial(self.daemon.stored, shelf)),
            keep=keep,
            retries=retries,
            executor=self.daemon.pool,
        )
        self.tasks.append(asyncio.create_task(arrival.run()))
        return arrival

    async def die(self) -> None:
        """As by SIGKILL: it does nothing more, its turns are free, and what it wrote stays as it is."""
        self.shared.downloads.write = _say_nothing  # type: ignore[method-assign]  # the dead tell nothing
        for key in [key for key, worker in self.daemon.taken.items() if worker is self]:
            del self.daemon.taken[key]
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Daemon:
    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.pool = pool
        self.board = Board.create(3)
        self.taken: dict[str, Worker] = {}
        self.workers = [Worker(self, index) for index in range(3)]

    async def stored(self, shelf: Shelf) -> OpenBlob | None:
        """The file out of the store that all have, where it is kept."""
        if DIGEST not in shelf.kept:
            return None
        path = self.folder / "blob"
        path.write_bytes(shelf.kept[DIGEST])
        return OpenBlob(os.open(path, os.O_RDONLY), len(BODY), Sha256(DIGEST))

    async def close(self) -> None:
        for worker in self.workers:
            for task in worker.tasks:
                task.cancel()
            await asyncio.gather(*worker.tasks, return_exceptions=True)
            worker.shared.turns.close()
        self.board.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
async def daemon(tmp_path: Path, pool: ThreadPoolExecutor) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path, pool)
    yield daemon
    await daemon.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def _say_nothing(number: int, notice: Notice) -> None:
    del number, notice


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def has(arrival: Arrival, nbytes: int) -> None:
    with arrival.reading():
        while arrival.arrived < nbytes:
            await arrival.changed()


async def test_three_workers__one_fetch_and_all_bodies_right(daemon: Daemon, shelf: Shelf) -> None:
    remote = ScriptedFile(BODY)
    arrivals = [worker.begin(remote, shelf) for worker in daemon.workers for _ in range(1)]
    bodies = await asyncio.gather(*map(client, arrivals))

    assert bodies == [BODY] * 3
    assert len(remote.asked) == 1
    assert [worker.joined for worker in daemon.workers] == [0, 1, 1]
    assert [arrival.followed for arrival in arrivals] == [False, True, True]
    await asyncio.gather(*(task for worker in daemon.workers for task in worker.tasks))
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved, daemon.taken) == ({DIGEST: BODY}, [], 0, {})


async def test_reading_along__before_the_end__holds_the_last_bytes_back(daemon: Daemon, shelf: Shelf) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=len(BODY))])
    _, along = daemon.workers[0].begin(remote, shelf), daemon.workers[1].begin(remote, shelf)
    remote.parts = [Part(gate=gate, first=len(BODY) - 1)]
    await has(along, len(BODY) - 1)

    assert along.sendable(along.total) == len(BODY) - HOLD_BACK
    assert not along.verified
    gate.set()
    assert await client(along) == BODY


async def test_wrong_bytes__fail_for_all_and_are_fetched_once(daemon: Daemon, shelf: Shelf) -> None:
    gate = asyncio.Event()
    wrong = bytearray(BODY)
    wrong[300_000] ^= 1
    remote = ScriptedFile(bytes(wrong), [Part(gate=gate, first=HALF)])
    arrivals = [worker.begin(remote, shelf) for worker in daemon.workers]
    await asyncio.gather(*(has(arrival, HALF) for arrival in arrivals))
    gate.set()
    found = await asyncio.gather(*map(client, arrivals), return_exceptions=True)

    assert [type(error) for error in found] == [ContentWrong] * 3
    assert len({str(error) for error in found}) == 1
    assert len(remote.asked) == 1
    assert (shelf.kept, shelf.reserved) == ({}, 0)


async def test_remote_refuses__those_that_wait_are_told_the_same(daemon: Daemon, shelf: Shelf) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=1000, breaks_at=1001)])
    arrivals = [worker.begin(remote, shelf, retries=0) for worker in daemon.workers]
    await asyncio.gather(*(has(arrival, 1000) for arrival in arrivals))
    gate.set()
    found = await asyncio.gather(*map(client, arrivals), return_exceptions=True)

    assert [type(error) for error in found] == [RemoteFailed] * 3
    assert len(remote.asked) == 1


async def test_worker_that_downloads__dies__another_resumes_and_hashes_all_of_it(daemon: Daemon, shelf: Shelf) -> None:
    remote = ScriptedFile(BODY, [Part(gate=asyncio.Event(), first=HALF), Part()])
    first, *others = (worker.begin(remote, shelf) for worker in daemon.workers)
    readers = [asyncio.create_task(client(arrival)) for arrival in others]
    await asyncio.gather(*(has(arrival, HALF) for arrival in (first, *others)))
    await daemon.workers[0].die()

    assert await asyncio.gather(*readers) == [BODY, BODY]
    assert remote.asked == [(0, None), (HALF, '"v1"')]
    await asyncio.gather(*(task for worker in daemon.workers[1:] for task in worker.tasks))
    assert (shelf.kept, list(shelf.tmp.iterdir()), shelf.reserved) == ({DIGEST: BODY}, [], 0)


async def test_worker_that_downloads__dies_before_the_first_byte__nothing_stays_open(
    daemon: Daemon, shelf: Shelf
) -> None:
    before = open_files()
    remote = ScriptedFile(BODY, [Part(gate=asyncio.Event()), Part()])
    first, along = (worker.begin(remote, shelf) for worker in daemon.workers[:2])
    with along.reading():
        await along.head()
    await daemon.workers[0].die()

    assert await client(along) == BODY
    assert [start for start, _ in remote.asked] == [0, 0]
    await asyncio.gather(*daemon.workers[1].tasks)
    assert first.error is not None
    assert open_files() == before


async def test_bytes_of_one_that_died__were_wrong__nobody_gets_a_whole_body(daemon: Daemon, shelf: Shelf) -> None:
    wrong = bytearray(BODY)
    wrong[1000] ^= 1
    remote = ScriptedFile(bytes(wrong), [Part(gate=asyncio.Event(), first=HALF), Part()])
    arrivals = [worker.begin(remote, shelf) for worker in daemon.workers]
    await asyncio.gather(*(has(arrival, HALF) for arrival in arrivals))
    remote.body = BODY  # what comes now is right
    readers = [asyncio.create_task(client(arrival)) for arrival in arrivals[1:]]
    await daemon.workers[0].die()
    found = await asyncio.gather(*readers, return_exceptions=True)

    assert [type(error) for error in found] == [ContentWrong] * 2
    assert shelf.kept == {}


async def test_one_that_died__told_neither_digest_nor_validator__is_not_spliced(daemon: Daemon, shelf: Shelf) -> None:
    remote = ScriptedFile(BODY, [Part(gate=asyncio.Event(), first=HALF), Part()], etag=None)
    arrivals = [worker.begin(remote, shelf, Promise({}, len(BODY))) for worker in daemon.workers[:2]]
    await asyncio.gather(*(has(arrival, HALF) for arrival in arrivals))
    reader = asyncio.create_task(client(arrivals[1]))
    await daemon.workers[0].die()

    with pytest.raises(RemoteFailed, match="given up"):
        await reader
    assert len(remote.asked) == 1


async def test_one_that_died__had_all_but_the_verdict__nothing_is_fetched_again(daemon: Daemon, shelf: Shelf) -> None:
    remote = ScriptedFile(BODY)
    first, along = (worker.begin(remote, shelf) for worker in daemon.workers[:2])
    fetch = first._fetch

    async def fetch_and_hang(spool: Spool) -> None:
        await fetch(spool)
        await asyncio.Event().wait()  # killed here

    first._fetch = fetch_and_hang  # type: ignore[method-assign]  # as above
    await has(along, len(BODY))
    await daemon.workers[0].die()

    assert await client(along) == BODY
    assert len(remote.asked) == 1


async def test_worker_that_stops__gives_up__another_goes_on(daemon: Daemon, shelf: Shelf) -> None:
    remote = ScriptedFile(BODY, [Part(gate=asyncio.Event(), first=HALF), Part()])
    first, along = (worker.begin(remote, shelf) for worker in daemon.workers[:2])
    await asyncio.gather(has(first, HALF), has(along, HALF))
    daemon.workers[0].tasks[0].cancel()

    assert await client(along) == BODY
    assert remote.asked == [(0, None), (HALF, '"v1"')]


async def test_disk_refuses_the_rest__each_fetches_for_itself(
    daemon: Daemon, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(tmp_path, full_at=100_000)
    remote = ScriptedFile(BODY)
    arrivals = [worker.begin(remote, shelf) for worker in daemon.workers]

    assert await asyncio.gather(*map(client, arrivals)) == [BODY] * 3
    assert "the disk refuses the rest" in caplog.text
    assert shelf.kept == {}


async def test_policy_streamed__one_fetch_and_nothing_kept(daemon: Daemon, shelf: Shelf) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=HALF)])
    arrivals = [worker.begin(remote, shelf, keep=False) for worker in daemon.workers]
    readers = [asyncio.create_task(client(arrival)) for arrival in arrivals]
    await asyncio.gather(*(has(arrival, HALF) for arrival in arrivals))
    gate.set()

    assert await asyncio.gather(*readers) == [BODY] * 3
    assert len(remote.asked) == 1
    await asyncio.gather(*(task for worker in daemon.workers for task in worker.tasks))
    assert (shelf.kept, list(shelf.tmp.iterdir())) == ({}, [])


async def test_stored_meanwhile__is_read_from_the_store(daemon: Daemon, shelf: Shelf) -> None:
    shelf.kept[DIGEST] = BODY
    remote = ScriptedFile(BODY)
    arrival = daemon.workers[0].begin(remote, shelf)

    assert await client(arrival) == BODY
    assert remote.asked == []


async def test_client_of_the_one_that_downloads__leaves__it_goes_on_for_the_others(
    daemon: Daemon, shelf: Shelf
) -> None:
    gate = asyncio.Event()
    remote = ScriptedFile(BODY, [Part(gate=gate, first=HALF)])
    first, along = (worker.begin(remote, shelf) for worker in daemon.workers[:2])
    leaving = asyncio.create_task(client(first))
    await has(along, HALF)
    leaving.cancel()
    gate.set()

    assert await client(along) == BODY
    assert len(remote.asked) == 1
