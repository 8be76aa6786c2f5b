"""The cache of remote blobs: bounded in bytes, least recently used out first, its account exact.

What is committed stands in the index alone, where every process sees it; in memory are only the reservations, which
the workers of a daemon tell each other, and the uses not yet written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias, TypeVar

from pyproxy.errors import BlobDamaged, StoreFull, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import translated
from pyproxy.storage.incoming import Gathering, Incoming, spread
from pyproxy.storage.records import Records
from pyproxy.storage.room import Reservation, Room, Tell
from pyproxy.storage.rows import BlobRow, FileRecord, Total
from pyproxy.storage.stock import Stock
from pyproxy.storage.temps import Temp, close
from pyproxy.storage.uses import Uses

log = logging.getLogger(__name__)
T = TypeVar("T")
Body: TypeAlias = bytes  # a cache has `bytes` of its own

THREADS: Final = 16
"""Each waits for the disk nearly all of its time: two syncs a file, and a file system does many of them as one."""

QUICK: Final = 1 << 20
"""Bytes of a file up to which the disk takes it so quickly that those stored with it may wait for it."""

SHARED_FLUSH_SECONDS: Final = 15.0
"""How long the uses of one worker may be unknown to another that evicts."""

SPARE_DISK: Final = 32 << 20
"""Bytes of the disk that a reservation leaves free, for the index and for others."""


@dataclass(frozen=True, slots=True)
class OpenBlob:
    """A blob open for reading. Who takes it closes it; the bytes stay whole even when the blob is evicted."""

    fd: int
    size: int
    digest: Sha256

    def close(self) -> None:
        close(self.fd)


class BlobCache:
    """One per process and store, used on the event loop.

    `on_evicted` is told how many bytes went, from any thread. `stock` has the same work for those who may block.
    """

    def __init__(
        self,
        blobs: Blobs,
        records: Records,
        disk: Disk,
        *,
        limit: int,
        on_evicted: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._blobs = blobs
        self._records = records
        self._disk = disk
        self._room = Room(limit)
        self._uses = Uses(self._last_use(), clock=clock)
        self.stock = Stock(blobs, records, disk, room=self._room, uses=self._uses, on_evicted=on_evicted)
        self._pool = ThreadPoolExecutor(THREADS, "pyproxy-cache")
        self._closed = False
        self._gathering = Gathering(self._keep_group, self._submit)
        self._storing: set[asyncio.Future[None]] = set()  # of the loop alone
        self._mending: dict[Sha256, Future[bool]] = {}  # put in on the loop, taken out by the thread that is done

    # ------------------------------------------------------------------ what is held

    @property
    def bytes(self) -> int:
        """What all blobs take, as committed. Raises StoreTrouble."""
        return self.total().size

    @property
    def files(self) -> int:
        """How many blobs there are. Raises StoreTrouble."""
        return self.total().blobs

    @property
    def reserved(self) -> int:
        """Bytes that this process has reserved."""
        return self._room.reserved

    @property
    def limit(self) -> int:
        """Bytes the cache may take. A lower one is reached with the next reservation, or by `shrink`."""
        return self._room.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._room.limit = limit

    @property
    def on_evicted(self) -> Callable[[int], None]:
        """Told how many bytes were evicted, from any thread."""
        return self.stock.on_evicted

    @on_evicted.setter
    def on_evicted(self, told: Callable[[int], None]) -> None:
        self.stock.on_evicted = told

    def share(self, tell: Tell) -> None:
        """Counts reservations together with other workers (`Room.share`)."""
        self._room.share(tell)
        self._uses.flush_seconds = SHARED_FLUSH_SECONDS

    @translated
    def total(self) -> Total:
        """Bytes and number of blobs as of one instant, a microsecond. Raises StoreTrouble."""
        with self._records.env.reading() as txn:
            return self._records.ledger.total(txn)

    def find(self, key: str) -> FileRecord | None:
        """The file under a `file_key`, where its blob is held. Raises StoreTrouble."""
        return self._records.file(key)

    def holds(self, digest: Sha256) -> int | None:
        """The size of the blob with this digest, whatever files name it: `link` adds one. Raises StoreTrouble."""
        row = self._records.blob(digest)
        return None if row is None else row.size

    def open(self, record: FileRecord) -> OpenBlob:
        """The blob of a record, open, its use noted. Raises BlobDamaged: then `mend` it; and StoreTrouble."""
        digest = record.digest
        row = self._records.blob(digest)
        if row is None:
            raise BlobDamaged(f"blob {digest} has been evicted")
        blob = OpenBlob(self._blobs.open(digest), row.size, digest)
        try:
            self._compare(blob, record, row)
        except BaseException:
            blob.close()
            raise
        self.touch(digest)
        return blob

    def touch(self, digest: Sha256) -> None:
        """Notes a use, in memory; many are written at once. For those who serve from a descriptor they keep open."""
        if self._uses.note(digest) and not self._closed:
            with contextlib.suppress(RuntimeError):  # no thread to be had: a later one writes it too
                self._pool.submit(self._flush_quietly)

    def _compare(self, blob: OpenBlob, record: FileRecord, row: BlobRow) -> None:
        found = self._blobs.fstat(blob.fd, blob.digest)
        if not found.st_size == row.size == record.size:
            raise BlobDamaged(f"blob {blob.digest} has {found.st_size} bytes, not {record.size}")
        if found.st_mtime_ns != row.mtime_ns:
            raise BlobDamaged(f"blob {blob.digest} was changed after it was stored")

    # ------------------------------------------------------------------ what comes and goes

    async def reserve(self, nbytes: int) -> Reservation:
        """Room for so many bytes, made by eviction where needed. Raises StoreFull, StoreTrouble."""
        await self._claim(nbytes)
        return Reservation(self._room, nbytes, self._claim)

    async def keep(self, temp: Temp, key: str, record: FileRecord, reservation: Reservation) -> None:
        """Makes the temp the blob of `record.digest`, which the caller has checked, and the file findable.

        It is on disk when this returns. Temp and reservation are taken over in any case, also when the caller is
        cancelled: the work then goes on. Raises StoreFull, StoreTrouble; the file is not recorded then.
        """
        taken = temp.handed_over()
        # The time of use is taken here and not when the row is written: what is read meanwhile is used later.
        one = Incoming(key, record, reservation.handed_over(), self._uses.now(), taken)
        await self._waited_for(one, self._gathering.add if record.size <= QUICK else self._alone)

    async def put(self, body: Body, key: str, record: FileRecord, reservation: Reservation) -> None:
        """The same for bytes in memory."""
        one = Incoming(key, record, reservation.handed_over(), self._uses.now(), body=body)
        await self._waited_for(one, self._gathering.add)

    def _alone(self, one: Incoming) -> asyncio.Future[None]:
        return asyncio.wrap_future(self._submit(lambda: self._keep(one)))

    def _keep(self, one: Incoming) -> None:
        self.stock.keep([one])
        if one.trouble is not None:
            raise one.trouble

    def _keep_group(self, group: Sequence[Incoming]) -> None:
        self.stock.keep(group, each=partial(spread, self._pool))

    async def _waited_for(self, one: Incoming, begin: Callable[[Incoming], asyncio.Future[None]]) -> None:
        try:
            storing = begin(one)
        except StoreTrouble:
            one.let_go()
            raise
        self._storing.add(storing)
        storing.add_done_callback(self._stored)
        await asyncio.shield(storing)

    def _stored(self, storing: asyncio.Future[None]) -> None:
        self._storing.discard(storing)
        if not storing.cancelled():
            storing.exception()  # looked at, also where the caller was cancelled

    async def link(self, key: str, record: FileRecord) -> bool:
        """Records one more file of a blob that is held; False where it is not. Raises StoreTrouble."""
        return await self._records.put_file(key, record)

    async def drop(self, key: str) -> None:
        """Forgets a file, and its blob where no other file names it. Raises StoreTrouble."""
        await self.run(lambda: self.stock.drop(key))

    async def mend(self, record: FileRecord) -> bool:
        """Looks at a damaged blob. True: its bytes are right, open it again. False: it is gone, fetch it.

        Many who ask at once share one look, which reads the whole blob. Raises StoreTrouble.
        """
        digest = record.digest
        looking = self._mending.get(digest)
        if looking is None:
            looking = self._mending[digest] = self._submit(lambda: self.stock.mend(digest))
            looking.add_done_callback(lambda _: self._mending.pop(digest, None))
        return await _finished(looking)

    async def shrink(self) -> int:
        """Evicts until committed and reserved bytes are within the limit; how many bytes went. Raises StoreTrouble."""
        return await self.run(self.stock.shrink)

    async def free_disk(self, nbytes: int) -> None:
        """Makes room on the disk for so many bytes that are to be kept beside the cache, by eviction where needed.

        Raises StoreFull where the disk has not so many even without any cached blob, and StoreTrouble.
        """
        lacking = nbytes + SPARE_DISK - self._disk.free(self._blobs.tmp)
        if lacking > 0:
            await self.run(lambda: self.stock.shrink_to(max(0, self.total().size - lacking)))
        if self._disk.free(self._blobs.tmp) < nbytes:
            raise StoreFull("the disk is full")

    async def flush(self) -> None:
        """Writes down the uses noted so far. Raises StoreTrouble."""
        await self.run(self.stock.flush)

    async def run(self, work: Callable[[], T]) -> T:
        """Something that blocks, in a thread of the cache. Raises StoreTrouble where the cache is closed."""
        return await _finished(self._submit(work))

    def close(self) -> None:
        """Finishes what is under way and writes down the uses. Blocking."""
        self._closed = True
        self._pool.shutdown(wait=True)
        self._flush_quietly()

    # ------------------------------------------------------------------ room

    async def _claim(self, nbytes: int) -> None:
        await self._claim_room(nbytes)
        try:
            pledged = self._room.pledged  # before the total: what is committed in between is counted twice, not never
            if pledged + self.total().size > self._room.limit:
                await self.shrink()
            await self._ensure_disk(nbytes)
        except BaseException:
            self._room.give_back(nbytes)
            raise

    async def _claim_room(self, nbytes: int) -> None:
        """Downloads under way hold their room; one that is being stored is about to become a blob that may go."""
        while True:
            try:
                return self._room.claim(nbytes)
            except StoreFull:
                if nbytes > self._room.limit or not self._storing:
                    raise
            await asyncio.wait(set(self._storing), return_when=asyncio.FIRST_COMPLETED)

    async def _ensure_disk(self, nbytes: int) -> None:
        """The limit may promise more than the disk has: then blobs go as if the limit were lower."""
        lacking = nbytes + SPARE_DISK - self._disk.free(self._blobs.tmp)
        if lacking <= 0:
            return
        left = self.total().size - lacking
        if left < 0:
            raise StoreFull("the disk is full")
        await self.run(lambda: self.stock.shrink_to(left))

    # ------------------------------------------------------------------ threads

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise StoreTrouble("the store is closed")
        return self._pool.submit(work)

    def _flush_quietly(self) -> None:
        try:
            self.stock.flush()
        except StoreTrouble as exc:
            log.warning("the order of use since the last flush is not written down: %s", exc)

    @translated
    def _last_use(self) -> int:
        with self._records.env.reading() as txn:
            ends = self._records.ledger.ends(txn)
        return 0 if ends is None else ends[1]


async def _finished(work: Future[T]) -> T:
    # Shielded: a caller that is cancelled must not take the work of others back, nor leave its own half done.
    return await asyncio.shield(asyncio.wrap_future(work))
