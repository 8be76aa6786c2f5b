"""The one thread that writes the index: everything that waits goes into one transaction and one commit.

An LMDB write transaction belongs to the thread that began it, and a commit costs a sync, so writers queue here
and share both. Whoever waits is told after the commit.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import lmdb

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.storage.disk import Disk, trouble
from pyproxy.storage.environment import Environment, Txn, lmdb_trouble

log = logging.getLogger(__name__)
T = TypeVar("T")

Write = Callable[[Txn], T]
"""What is done in a write transaction. It may be run again from the start, so it must not mind."""

BATCH: Final = 500
"""Writes in one commit at most."""

PATIENCE: Final = 10.0
"""Seconds a write may take. Longer means that another process sits on the lock, or the disk hangs."""

HOUSEKEEPING: Final = 60.0
"""Seconds after which an idle thread looks for the slots of readers that died."""


class Unfinished(StoreTrouble):
    """Nobody waits for the write any longer, and it may yet be done."""


@dataclass(slots=True)
class _Job:
    run: Write[Any]  # Any: jobs of all result types wait in one queue; `submit` keeps the type of each
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """Runs writes. `relieve` frees room in a full index and tells whether it could."""

    def __init__(self, env: Environment, disk: Disk, *, relieve: Callable[[Txn], bool]) -> None:
        self.trouble: str | None = None
        """Why the last write failed; None since one succeeded."""
        self._env = env
        self._disk = disk
        self._relieve = relieve
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="pyproxy-index-writer", daemon=True)
        self._thread.start()

    async def write(self, run: Write[T]) -> T:
        """Runs and commits it. Raises what it raised, StoreFull, Unfinished or StoreTrouble.

        A caller that is cancelled takes it back unless it has begun.
        """
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.submit(run)), PATIENCE)
        except TimeoutError:
            raise self._too_slow() from None

    def call(self, run: Write[T]) -> T:
        """The same for a thread that may block."""
        future = self.submit(run)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            future.cancel()
            raise self._too_slow() from None

    def submit(self, run: Write[T]) -> Future[T]:
        """Queues it and returns at once. Who drops the future must look at its exception."""
        job = _Job(run)
        if self._closed:
            job.future.set_exception(StoreTrouble("the store is closed"))
        else:
            self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Does what is waiting, then ends the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    # ------------------------------------------------------------------ the thread

    def _work(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=HOUSEKEEPING)
            except queue.Empty:
                self._tidy()
                continue
            batch: list[_Job] = []
            while job is not None:
                # A job of a caller that went away is dropped; one that has begun can no longer be cancelled.
                if job.future.set_running_or_notify_cancel():
                    batch.append(job)
                if len(batch) == BATCH:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._serve(batch)
            if job is None:
                break
        self._refuse_the_rest()

    def _serve(self, batch: list[_Job]) -> None:
        try:
            results = self._commit(batch)
        except Exception as exc:  # noqa: BLE001 - whatever it is, its caller is told
            if len(batch) == 1:
                self._alone(batch[0], exc)
            else:
                # One bad write must not take the others with it: each again, for itself.
                for job in batch:
                    self._serve([job])
            return
        self.trouble = None
        for job, result in zip(batch, results, strict=True):
            job.future.set_result(result)

    def _alone(self, job: _Job, exc: Exception) -> None:
        """A write that failed by itself: once more where the index was full and something could go."""
        if isinstance(exc, lmdb.MapFullError):
            try:
                if self._make_room():
                    (result,) = self._commit([job])
                    job.future.set_result(result)
                    return
            except Exception as again:  # noqa: BLE001 - whatever it is, its caller is told
                exc = again
        told = _told(exc)
        if isinstance(told, StoreTrouble) and told is not exc:
            if self.trouble is None:
                log.error("%s", told)
            self.trouble = str(told)
        job.future.set_exception(told)

    def _commit(self, batch: list[_Job]) -> list[Any]:  # Any: as in _Job
        self._disk.before("begin")
        txn = self._env.writing()
        try:
            self._disk.point("txn-open", self._env.path)
            results = [job.run(txn) for job in batch]
            self._disk.before("commit")
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        self._disk.point("committed", self._env.path)
        return results

    def _make_room(self) -> bool:
        done: list[bool] = []
        self._commit([_Job(lambda txn: done.append(self._relieve(txn)))])
        # Pages freed by one transaction may be taken by the next but one, so a transaction of its own goes between.
        self._commit([_Job(lambda txn: txn.put(b"relieved", b"", db=self._env.meta))])
        log.warning("the index is full: the oldest pages and documents were dropped")
        return done[-1]

    def _tidy(self) -> None:
        try:
            freed = self._env.reader_check()
        except lmdb.Error as exc:
            log.warning("%s", lmdb_trouble(exc, "cannot look for dead readers"))
        else:
            if freed:
                log.info("%d readers of the index had died", freed)

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(StoreTrouble("the store is closed"))

    def _too_slow(self) -> Unfinished:
        self.trouble = f"a write to the index took longer than {PATIENCE:g} s"
        return Unfinished(self.trouble)


def _told(exc: Exception) -> Exception:
    """What the caller gets for whatever was raised in a transaction."""
    if isinstance(exc, lmdb.Error):
        return _with_cause(lmdb_trouble(exc, "cannot write the index"), exc)
    if isinstance(exc, OSError):
        return _with_cause(trouble(exc, "cannot write the index"), exc)
    if isinstance(exc, MemoryError):
        return _with_cause(StoreFull("no memory to write the index"), exc)
    return exc


def _with_cause(told: StoreTrouble, exc: BaseException) -> StoreTrouble:
    told.__cause__ = exc
    return told
