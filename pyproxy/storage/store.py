"""A store, opened: one folder with its lock, its index and its blobs, brought back in order first.

    DATA/lock · DATA/cache/index/ · DATA/cache/blobs/ab/SHA256 · DATA/cache/tmp/ · DATA/cache/lists/
    DATA/cache/tallies

Everything below `cache` can be fetched again.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyproxy.errors import StoreTrouble
from pyproxy.storage import recover
from pyproxy.storage.audit import Audit
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.cache import BlobCache
from pyproxy.storage.disk import Disk, Fault, trouble
from pyproxy.storage.environment import MAP_SIZE, IndexDamaged, translated
from pyproxy.storage.failpoints import Failpoints
from pyproxy.storage.findings import Finding
from pyproxy.storage.lock import StoreLock, holder
from pyproxy.storage.records import Records
from pyproxy.storage.row_audit import RowAudit
from pyproxy.storage.rows import remote_of
from pyproxy.storage.tallies import Answered, answered

__all__ = ["Finding", "Status", "Store", "gc", "open_store", "status", "verify"]

log = logging.getLogger(__name__)

START_SECONDS: Final = 0.1
START_BYTES: Final = 32 << 20
"""What a start after a crash may spend on comparing disk and index; `reconcile` does the rest behind."""

_SLICE_SECONDS: Final = 0.05


class Layout:
    """Where things lie in a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "lock"
        self.cache = root / "cache"
        self.index = self.cache / "index"
        self.blobs = self.cache / "blobs"
        self.tmp = self.cache / "tmp"
        self.lists = self.cache / "lists"
        self.clean = self.cache / "clean"
        self.turns = self.cache / "turns"
        """Locked by workers that take turns; nothing is in it."""
        self.tallies = self.cache / "tallies"


class Store:
    """An open store. Made by `open_store`; `close` it."""

    def __init__(
        self, layout: Layout, disk: Disk, *, blobs: Blobs, records: Records, cache: BlobCache, alone: bool, clean: bool
    ) -> None:
        self.path = layout.root
        self.lists = layout.lists
        """The folder for lists of projects."""
        self.tmp = layout.tmp
        """For what is on its way; whatever has a name there is swept with the next start."""
        self.blobs = blobs
        self.records = records
        self.cache = cache
        self.layout = layout
        self.disk = disk
        self.audit = Audit(blobs, records, cache.stock, alone=alone)
        self.reconciliation = recover.Reconciliation(self.audit, cache.stock, needed=alone and not clean)
        self.lock: StoreLock | None = None
        self._mark = recover.CleanMark(disk, path=layout.clean, index=layout.index)
        self._alone = alone
        self._closed = False

    @property
    def trouble(self) -> str | None:
        """Why the index could not be written last; None since it could."""
        return self.records.writer.trouble

    @property
    def reconciled(self) -> bool:
        """Whether disk and index are known to agree: `cache.bytes` is then what the disk holds."""
        return self.reconciliation.done

    async def reconcile(self) -> recover.Drift:
        """Finishes what the start after a crash left to do, in short portions in a thread. Raises StoreTrouble."""
        while not self.reconciliation.done:
            await self.cache.run(lambda: self.reconciliation.work(seconds=_SLICE_SECONDS))
        return self.reconciliation.drift

    async def disturbed(self) -> None:
        """Another process has died in the store: sweeps its temporary files, and has `reconcile` compare all anew.

        For who holds the lock. Raises StoreTrouble.
        """
        await self.cache.run(lambda: _sweep(self.blobs))
        translated(self.records.env.reader_check)()
        self.cache.stock.untidy = False  # whatever was left over will be found
        self.reconciliation = recover.Reconciliation(self.audit, self.cache.stock, needed=True)

    def close(self) -> None:
        """Finishes what is under way and lets go of the store. Blocking. Does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self.cache.close()
        self.records.close()
        try:
            self._leave()
        finally:
            if self.lock is not None:
                self.lock.release()

    def _leave(self) -> None:
        """Notes that all is in order, where it is and nobody else is in the store."""
        if not self._alone or not self.reconciliation.done or self.cache.stock.untidy:
            return
        try:
            if self.lock is None:
                self.lock = StoreLock.try_take(self.disk, self.layout.lock)
            if self.lock is not None:
                self._mark.write()
        except StoreTrouble as exc:
            log.warning("the next start will take longer: %s", exc)


def open_store(
    path: Path,
    *,
    limit: int,
    exclusive: bool,
    map_size: int = MAP_SIZE,
    fault: Fault | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Store:
    """The store in this folder, made unless it is there. Blocking: about 10 ms after a clean stop.

    `limit` is for the bytes of cached blobs. `exclusive` is for the daemon: it holds the lock until `close`. Others
    (the command line, workers of a daemon) come beside it; the first into a store that nobody holds puts it in order.
    `fault` is for tests. Raises StoreInUse, StoreTrouble.
    """
    layout = Layout(Path(os.path.abspath(path)))  # noqa: PTH100 - links in the path to the store are the owner's business
    disk = Disk(layout.root, fault=fault, failpoints=Failpoints.from_environment(environment))
    _make(layout, disk, environment)
    lock = StoreLock.take(disk, layout.lock) if exclusive else StoreLock.try_take(disk, layout.lock)
    try:
        store = _open(layout, disk, limit=limit, map_size=map_size, alone=lock is not None)
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    if exclusive:
        store.lock = lock
    elif lock is not None:
        lock.release()
    return store


def _make(layout: Layout, disk: Disk, environment: Mapping[str, str]) -> None:
    recover.refuse_remote(layout.root, environment)
    try:
        layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise trouble(exc, f"cannot make the data folder {layout.root}") from exc
    for folder in (layout.cache, layout.index, layout.blobs, layout.tmp, layout.lists):
        disk.make_own_dir(folder)
    devices = {found.st_dev for path in (layout.tmp, layout.blobs) if (found := disk.lstat(path)) is not None}
    if len(devices) > 1:
        raise StoreTrouble(f"{layout.tmp} and {layout.blobs} must lie on one file system")


def _open(layout: Layout, disk: Disk, *, limit: int, map_size: int, alone: bool) -> Store:
    blobs = Blobs(disk, root=layout.blobs, tmp=layout.tmp)
    mark = recover.CleanMark(disk, path=layout.clean, index=layout.index)
    clean = alone and mark.holds()
    if alone:
        mark.clear()
        _sweep(blobs)
        if not clean and (why := recover.index_damage(disk, layout.index)) is not None:
            _begin_anew(layout, disk, why)
    try:
        records = Records(layout.index, disk, map_size=map_size)
    except IndexDamaged as exc:
        if not alone:
            raise
        clean = False
        _begin_anew(layout, disk, str(exc))
        records = Records(layout.index, disk, map_size=map_size)
    try:
        cache = BlobCache(blobs, records, disk, limit=limit)
        store = Store(layout, disk, blobs=blobs, records=records, cache=cache, alone=alone, clean=clean)
    except BaseException:
        records.close()
        raise
    try:
        store.reconciliation.work(seconds=START_SECONDS, nbytes=START_BYTES)
    except StoreTrouble as exc:
        # A folder that cannot be read, say. It hinders nobody who asks for other blobs.
        log.warning("disk and index could not be compared: %s", exc)
    return store


def _begin_anew(layout: Layout, disk: Disk, why: str) -> None:
    recover.set_index_aside(disk, layout.index, why)
    disk.make_own_dir(layout.index)


def _sweep(blobs: Blobs) -> None:
    swept, foreign = blobs.sweep()
    if swept:
        log.info("swept %d temporary files", swept)
    if foreign:
        log.warning("%d files in the store's tmp folder are none of ours and are left alone", foreign)


# ---------------------------------------------------------------------- for the command line


@dataclass(frozen=True, slots=True)
class Status:
    """What a store holds. Bytes; times in seconds since the epoch, None where there are no blobs."""

    path: Path
    daemon: int | None
    """The pid of the daemon that has the store, None where none has."""
    limit: int
    bytes: int
    blobs: int
    files: int
    oldest_use: float | None
    newest_use: float | None
    pages: Mapping[str, int]
    """How many pages are held of each remote."""
    documents: int
    index_bytes: int
    index_limit: int
    answered: Answered
    """How the daemon answered requests, over restarts."""


def status(store: Store) -> Status:
    """Raises StoreTrouble."""
    store.cache.stock.flush()
    return _status(store)


@translated
def _status(store: Store) -> Status:
    env, ledger = store.records.env, store.records.ledger
    with env.reading() as txn:
        total = ledger.total(txn)
        ends = ledger.ends(txn)
        pages = Counter(remote_of(key) for key in txn.cursor(db=env.heads).iternext(values=False))
        files = txn.stat(env.files)["entries"]
        documents = txn.stat(env.docs)["entries"]
    used, limit = env.used()
    return Status(
        path=store.path,
        daemon=_daemon(store),
        limit=store.cache.limit,
        bytes=total.size,
        blobs=total.blobs,
        files=files,
        oldest_use=None if ends is None else ends[0] / 1e6,
        newest_use=None if ends is None else ends[1] / 1e6,
        pages=dict(sorted(pages.items())),
        documents=documents,
        index_bytes=used,
        index_limit=limit,
        answered=answered(store.layout.tallies),
    )


def _daemon(store: Store) -> int | None:
    if store.lock is not None:
        return os.getpid()
    lock = StoreLock.try_take(store.disk, store.layout.lock)
    if lock is not None:
        lock.release()
        return None
    return holder(store.disk, store.layout.lock)


def verify(store: Store, *, mend: bool = True) -> Iterator[Finding]:
    """Everything that is wrong, as it is found: every row is checked and every blob read. Blocking.

    With `mend` what is wrong is dropped, and fetched again when it is asked for. Raises StoreTrouble.
    """
    rows = RowAudit(store.records)
    yield from rows.ledger(mend=mend)
    for shard in store.audit.shards():
        yield from store.audit.blobs(shard, mend=mend, rehash=True)
        for digest, size in store.audit.orphans(shard):
            yield store.audit.orphan(digest, size, mend=mend)
    yield from rows.pages(mend=mend)


def gc(store: Store) -> int:
    """Evicts down to the limit and sweeps what dead processes left; how many bytes of blobs went. Blocking.

    Raises StoreTrouble.
    """
    _sweep(store.blobs)
    return store.cache.stock.shrink()
