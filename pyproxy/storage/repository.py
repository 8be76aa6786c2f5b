"""Local repositories: immutable numbered versions of sets of files, every change one transaction and one version.

Reads are inline and take microseconds; every process sees the same. Changes are on disk when they return. Nothing
here is ever evicted: a file lives for as long as a version holds it, and its name stands for its bytes for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from pyproxy.errors import PyproxyError, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage import changes, pruning, recover
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.catching_up import CatchingUp
from pyproxy.storage.disk import Disk, Fault
from pyproxy.storage.environment import MAP_SIZE, translated
from pyproxy.storage.failpoints import Failpoints
from pyproxy.storage.findings import Finding
from pyproxy.storage.intake import Intake, NewFile
from pyproxy.storage.local_audit import LocalAudit
from pyproxy.storage.local_env import LocalEnvironment
from pyproxy.storage.local_layout import LocalLayout, Presence
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_reading import LocalReading
from pyproxy.storage.local_rows import (
    Action,
    Diff,
    LocalFile,
    Outcome,
    RepositoryVersion,
    as_repository,
)
from pyproxy.storage.local_start import check_index, sweep_temps
from pyproxy.storage.local_sweep import LocalSweep, PuttingInOrder
from pyproxy.storage.local_writer import LocalWriter
from pyproxy.storage.pruning import Keep, Pruned
from pyproxy.storage.rebuild import Rebuilt, rebuild_local
from pyproxy.storage.sidecars import Sidecars
from pyproxy.storage.specs import as_specs
from pyproxy.storage.temps import Temp

__all__ = [
    "Diff",
    "LocalFile",
    "NewFile",
    "Outcome",
    "Pruned",
    "Rebuilt",
    "Repositories",
    "RepositoryVersion",
    "open_local",
    "rebuild_local",
]

log = logging.getLogger(__name__)
T = TypeVar("T")

THREADS: Final = 16
"""Changes of one process that are under way at once: those that wait together share one commit."""

DISK_THREADS: Final = 8
"""Files of one change that are written at once: their fsyncs share the disk's journal."""

START_SECONDS: Final = 0.1
"""What a start may spend on putting things in order; `reconcile` does the rest behind."""

_SLICE_SECONDS: Final = 0.05


class Repositories(LocalReading):
    """All repositories of one store, opened by `open_local`; `close` it. One per process and store.

    A repository is there, and empty (version 0), until something is written to it. Names of repositories are letters,
    digits, `.`, `_` and `-`; anything else raises BadName when it is to be written.
    """

    def __init__(
        self,
        layout: LocalLayout,
        disk: Disk,
        *,
        env: LocalEnvironment,
        presence: Presence,
        mark: recover.CleanMark,
        exclusive: bool,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(LocalLedger(env), Blobs(disk, root=layout.blobs, tmp=layout.tmp, levels=2))
        self.path = layout.local
        self._presence = presence
        self._mark = mark
        self._clock = clock
        self._closed = False
        self._disk = disk
        self._pool = ThreadPoolExecutor(THREADS, "pyproxy-local")
        disk_pool = self._disk_pool = ThreadPoolExecutor(DISK_THREADS, "pyproxy-local-disk")
        sidecars = Sidecars(self._blobs, disk)
        writer = self._writer = LocalWriter(env, disk)
        self._catching_up = CatchingUp(self._ledger, writer, sidecars, disk_pool)
        self._intake = Intake(self._ledger, writer, self._blobs, sidecars, disk=disk, pool=disk_pool, clock=clock)
        self._sweep = LocalSweep(
            self._ledger,
            writer,
            self._blobs,
            sidecars,
            settled_ns=presence.since_ns if presence.alone else 0,
            busy=self._intake.is_busy,
            clock=clock,
        )
        self._audit = LocalAudit(
            self._ledger, writer, self._blobs, sidecars, disk, catching_up=self._catching_up, sweep=self._sweep
        )
        self._order = PuttingInOrder(self._sweep, self._catching_up, needed=exclusive)
        self._order.work(seconds=START_SECONDS)

    @property
    def trouble(self) -> str | None:
        """Why the index could not be written last; None since it could."""
        return self._writer.trouble

    def temp(self) -> Temp:
        """A temporary file for what is to be added. Raises StoreFull, StoreTrouble."""
        return self._blobs.temp()

    async def mend(self, digest: Sha256) -> bool:
        """Looks at a blob that seems damaged. True: its bytes are right, open it again. Raises StoreTrouble."""
        return await self._run(lambda: self._audit.mend(digest))

    # ------------------------------------------------------------------ changing
    #
    # Each is on disk when it returns, and made one version, or none where nothing was to change. A caller that is
    # cancelled does not stop it. All raise BadName, StoreFull and StoreTrouble; nothing has changed then.

    async def add(
        self, repository: str, files: Sequence[NewFile], action: Action = "upload", *, summary: str = ""
    ) -> Outcome:
        """Adds files whose bytes the caller has checked. Takes their temps over in any case.

        What the latest version holds already, with the same bytes, is left as it is. Raises FileExists where a name
        has other bytes, or had them, in this repository; nothing is added then.
        """
        taken: list[NewFile] = []
        try:
            as_repository(repository)
            for new in files:
                temp = new.temp.handed_over()
                taken.append(NewFile(temp, new.file, new.metadata, new.attestations))
            work = self._submit(lambda: self._add(repository, taken, action, summary))
        except BaseException:
            for new in (*files, *taken):
                new.temp.discard()
            raise
        return await _finished(work)

    async def remove(self, repository: str, specs: Iterable[str]) -> Outcome:
        """Takes the files that the requirements select out of the latest version.

        Raises BadRequirement; NothingMatches where one of them selects nothing.
        """
        wanted = as_specs(specs)
        return await self._change(
            repository, lambda: changes.remove(self._ledger, repository, wanted, clock=self._clock)
        )

    async def yank(self, repository: str, specs: Iterable[str], reason: str | None = None) -> Outcome:
        """Marks them as yanked (PEP 592). Raises as `remove`."""
        wanted = as_specs(specs)
        return await self._change(
            repository,
            lambda: changes.mark(self._ledger, repository, wanted, yanked=reason or True, clock=self._clock),
        )

    async def unyank(self, repository: str, specs: Iterable[str]) -> Outcome:
        """Raises as `remove`."""
        wanted = as_specs(specs)
        return await self._change(
            repository, lambda: changes.mark(self._ledger, repository, wanted, yanked=False, clock=self._clock)
        )

    async def copy(self, source: str, target: str, specs: Iterable[str], *, version: int | None = None) -> Outcome:
        """Takes files of one repository, of its latest version or another, into a second one.

        Raises as `remove` and `add`, and VersionUnknown.
        """
        wanted = as_specs(specs)
        return await self._change(
            target, lambda: changes.copy(self._ledger, source, target, wanted, version=version, clock=self._clock)
        )

    async def rollback(self, repository: str, version: int) -> Outcome:
        """Makes a version that holds exactly what this one holds. Raises VersionUnknown."""
        return await self._change(
            repository, lambda: changes.rollback(self._ledger, repository, version, clock=self._clock)
        )

    async def prune(
        self, repository: str, last: int = 1, *, within: float | None = None, pinned: Collection[int] = ()
    ) -> Pruned:
        """Forgets all versions but the `last` so many, those shown `within` so many seconds, and the pinned ones.

        What no version holds then leaves the disk. Makes no version. Raises ValueError for a `last` below 1.
        """
        keep = _keep(last, within, pinned)
        as_repository(repository)
        return await self._run(lambda: self._prune(repository, keep))

    @translated
    def foresee(
        self, repository: str, last: int = 1, *, within: float | None = None, pinned: Collection[int] = ()
    ) -> Pruned:
        """What `prune` would do now."""
        with self._env.reading() as txn:
            return pruning.foresee(
                self._ledger, txn, as_repository(repository), _keep(last, within, pinned), now=self._clock()
            )

    # ------------------------------------------------------------------ upkeep

    @property
    def reconciled(self) -> bool:
        """Whether what the start had to put in order is done."""
        return self._order.done

    async def reconcile(self) -> None:
        """Finishes what the start left to do, in short portions in a thread. Never raises for the store's trouble."""
        while not self._order.done:
            await self._run(lambda: self._order.work(seconds=_SLICE_SECONDS))

    async def disturbed(self) -> None:
        """Another process has died in the store: sweeps its temporary files, and has `reconcile` look anew.

        For who holds the lock on the data folder. Raises StoreTrouble.
        """
        await self._run(self._blobs.sweep)
        self._order = PuttingInOrder(self._sweep, self._catching_up, needed=True)

    def verify(self, *, mend: bool = True) -> Iterator[Finding]:
        """Everything that is wrong, as it is found: every row is checked and every blob read. Blocking.

        With `mend` sidecars, counts and times are put right, files that nobody needs go, and damaged blobs are set
        aside under another name: adding the same file again brings them back. Raises StoreTrouble.
        """
        return self._audit.verify(mend=mend)

    def close(self) -> None:
        """Finishes what is under way. Blocking. Does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True)
        self._disk_pool.shutdown(wait=True)
        self._writer.close()
        self._env.close()
        try:
            if self._presence.is_alone() and self._writer.trouble is None:
                self._mark.write()
        except StoreTrouble as exc:
            log.warning("the next start will take longer: %s", exc)
        finally:
            self._presence.leave()

    # ------------------------------------------------------------------ threads

    def _add(self, repository: str, files: Sequence[NewFile], action: Action, summary: str) -> Outcome:
        done = self._intake.add(repository, files, action=action, summary=summary)
        self._catching_up.work(done.pending)
        return done.outcome

    async def _change(self, repository: str, make: Callable[[], changes.Job]) -> Outcome:
        as_repository(repository)

        def work() -> Outcome:
            done = self._writer.call(make())
            if isinstance(done, PyproxyError):
                raise done
            self._catching_up.work(done.pending)
            return done.outcome

        return await self._run(work)

    def _prune(self, repository: str, keep: Keep) -> Pruned:
        left = self._writer.call(pruning.prune(self._ledger, repository, keep, clock=self._clock))
        self._catching_up.work(left.pending)
        try:
            self._disk.point("evict-row-deleted", self.path)
            self._sweep.unlink(left.digests)
        except StoreTrouble as exc:
            log.warning("blobs that were pruned stay until the next start: %s", exc)
        return left.pruned

    async def _run(self, work: Callable[[], T]) -> T:
        return await _finished(self._submit(work))

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise StoreTrouble("the store is closed")
        return self._pool.submit(work)


def _keep(last: int, within: float | None, pinned: Collection[int]) -> Keep:
    if last < 1:
        raise ValueError("at least the latest version is kept")
    return Keep(last=last, within=within, pinned=frozenset(pinned))


async def _finished(work: Future[T]) -> T:
    # Shielded: a caller that is cancelled must not leave a change half done.
    return await asyncio.shield(asyncio.wrap_future(work))


def open_local(
    path: Path,
    *,
    exclusive: bool,
    map_size: int = MAP_SIZE,
    fault: Fault | None = None,
    environment: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> Repositories:
    """The local content below this data folder, made unless it is there. Blocking: about 10 ms after a clean stop.

    `exclusive` is for the daemon, which holds the lock on the data folder: it sweeps what crashes left. `fault` is for
    tests. Raises StoreTrouble; IndexDamaged where the index must be rebuilt from the sidecars.
    """
    layout = LocalLayout(Path(os.path.abspath(path)))  # noqa: PTH100 - links in the path are the owner's business
    disk = Disk(layout.root, fault=fault, failpoints=Failpoints.from_environment(environment))
    layout.make(disk, environment)
    presence = Presence(layout, Disk(layout.root, fault=fault))
    try:
        mark = recover.CleanMark(disk, path=layout.clean, index=layout.index)
        clean = check_index(layout, disk, mark, alone=presence.alone)
        if exclusive:
            sweep_temps(layout, disk)
        env = LocalEnvironment(layout.index, map_size=map_size)
    except BaseException:
        presence.leave()
        raise
    try:
        if not clean:
            layout.sync(disk)
        return Repositories(layout, disk, env=env, presence=presence, mark=mark, exclusive=exclusive, clock=clock)
    except BaseException:
        env.close()
        presence.leave()
        raise
