"""The blocking work on blobs and their rows: keeping, evicting, dropping, mending. For threads, not for the loop.

A row is deleted before its file, and a file stands before its row is written, so a crash leaves files without rows,
never rows without files. Many processes may do this at once: the index's write lock is what they share.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.blobs import Blobs, Temp
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import Txn
from pyproxy.storage.lru import victims
from pyproxy.storage.records import Records
from pyproxy.storage.room import Reservation, Room
from pyproxy.storage.rows import BlobRow, FileRecord, Total, key_bytes
from pyproxy.storage.uses import Uses
from pyproxy.storage.writer import Unfinished, Write

log = logging.getLogger(__name__)
T = TypeVar("T")


PORTION: Final = 2000
"""Blobs evicted in one transaction: 40 ms, for which all other writers wait."""


class _Vanished(StoreTrouble):
    """The blob's file went away before its row was written: another process evicted it."""


class Stock:
    """The blobs of one store, changed by the threads of this process. Every method blocks."""

    def __init__(
        self, blobs: Blobs, records: Records, disk: Disk, *, room: Room, uses: Uses, on_evicted: Callable[[int], None]
    ) -> None:
        self.untidy = False
        """A file without a row was left behind; only a look at the whole disk will find it."""
        self.on_evicted = on_evicted
        self._blobs = blobs
        self._records = records
        self._ledger = records.ledger
        self._disk = disk
        self._room = room
        self._uses = uses
        self._busy: Counter[Sha256] = Counter()
        # Guards _busy, and is held while a blob is moved away: a keep and an eviction of one digest cannot pass each
        # other. Never taken on the loop.
        self._moving = threading.Lock()

    # ------------------------------------------------------------------ keeping

    def keep(self, temp: Temp, key: str, record: FileRecord, reservation: Reservation, *, used: int) -> None:
        """Makes the temp a blob, last used at `used`, and records the file. Takes temp and reservation over anyhow.

        Raises StoreFull, StoreTrouble; the file is not recorded then.
        """
        digest = record.digest
        try:
            with self._keeping(digest):
                evicted = self._adopt(temp, key, record, reservation, used)
        except BaseException:
            # Its file may stand there without a row.
            self.unlink([digest])
            raise
        finally:
            reservation.release()
            temp.discard()
        self._unlink_evicted(evicted)

    @contextmanager
    def _keeping(self, digest: Sha256) -> Iterator[None]:
        with self._moving:
            self._busy[digest] += 1
        try:
            yield
        finally:
            with self._moving:
                self._busy[digest] -= 1
                if not self._busy[digest]:
                    del self._busy[digest]

    def _adopt(
        self, temp: Temp, key: str, record: FileRecord, room: Reservation, used: int
    ) -> list[tuple[Sha256, int]]:
        self._disk.point("all-written", temp.path)
        if temp.size != record.size:
            raise StoreTrouble(f"{temp.size} bytes were written of {record.size}")
        self._disk.point("hash-checked", temp.path)
        if self._stands(record):
            # The same bytes under another link, say. The file there stays: readers compare its mtime with the row.
            with suppress(_Vanished):
                return self._write(lambda txn: self._commit(txn, key, record, room, used))
        self._blobs.adopt(temp, record.digest)
        temp.moved()
        return self._write(lambda txn: self._commit(txn, key, record, room, used))

    def _stands(self, record: FileRecord) -> bool:
        row = self._records.blob(record.digest)
        found = self._blobs.stat(record.digest)
        if row is None or found is None:
            return False
        return found.st_size == row.size == record.size and found.st_mtime_ns == row.mtime_ns

    def _commit(self, txn: Txn, key: str, record: FileRecord, room: Reservation, used: int) -> list[tuple[Sha256, int]]:
        digest = record.digest
        found = self._blobs.stat(digest)
        if found is None or found.st_size != record.size:
            raise _Vanished(f"blob {digest} was taken away while it was stored")
        old = self._ledger.blob(txn, digest)
        total = self._ledger.total(txn).size - (old.size if old is not None else 0)
        # The command line counts with nobody: what was promised too much together ends here.
        excess = total + record.size - self._room.limit
        evicted = self._drop_oldest(txn, excess)
        if sum(size for _, size in evicted) < excess:
            raise StoreFull(f"{record.size} bytes do not fit into a cache of {self._room.limit}")
        self._ledger.put_blob(txn, digest, BlobRow(record.size, found.st_mtime_ns, used))
        self._ledger.put_file(txn, key_bytes(key), record)
        # Here, where evictions are decided too: later, one of them would count the blob and its reservation both.
        room.settle()
        return evicted

    def adopt_orphan(self, digest: Sha256) -> bool:
        """Gives a blob that no row knows its row if its bytes are right, else takes it away. Reads it all.

        No file names it any more, but by digest it is found; its last use is when it was written.
        """
        if not self._blobs.is_sound(digest):
            self.unlink([digest])
            return False

        def adopt(txn: Txn) -> bool:
            found = self._blobs.stat(digest)
            if found is None or self._ledger.blob(txn, digest) is not None:
                return False
            used = min(max(0, found.st_mtime_ns // 1000), self._uses.now())
            self._ledger.put_blob(txn, digest, BlobRow(found.st_size, found.st_mtime_ns, used))
            return True

        return self._records.writer.call(adopt)

    # ------------------------------------------------------------------ evicting

    def shrink(self) -> int:
        """Evicts until committed and reserved bytes are within the limit; how many bytes went."""
        return self._evict(lambda total: total.size + self._room.reserved_by_all - self._room.limit)

    def shrink_to(self, nbytes: int) -> int:
        """Evicts until at most so many bytes are committed; how many bytes went."""
        return self._evict(lambda total: total.size - nbytes)

    def _evict(self, excess: Callable[[Total], int]) -> int:
        gone = 0
        while True:
            chosen = self._write(lambda txn: self._drop_oldest(txn, excess(self._ledger.total(txn)), most=PORTION))
            gone += self._unlink_evicted(chosen)
            if len(chosen) < PORTION:
                return gone

    def _drop_oldest(self, txn: Txn, excess: int, *, most: int | None = None) -> list[tuple[Sha256, int]]:
        if excess <= 0:
            return []
        # What was noted stays noted: written down a second time it changes nothing.
        self._ledger.touch(txn, self._uses.noted())
        with self._moving:
            busy = set(self._busy)
        chosen = victims(islice(self._ledger.oldest_first(txn), most), excess, spared=busy)
        for digest, _ in chosen:
            self._ledger.drop_blob(txn, digest)
        return chosen

    def _unlink_evicted(self, chosen: list[tuple[Sha256, int]]) -> int:
        if not chosen:
            return 0
        size = sum(size for _, size in chosen)
        self.on_evicted(size)
        log.info("evicted %d blobs of %d bytes together", len(chosen), size)
        self._uses.forget(digest for digest, _ in chosen)
        self._disk.point("evict-row-deleted", self._blobs.root)
        self.unlink(digest for digest, _ in chosen)
        return size

    def unlink(self, digests: Iterable[Sha256]) -> None:
        """Takes away the files of those of the blobs that have no row. Never raises: sets `untidy`.

        Under the index's write lock nobody can give them a row meanwhile. Renaming is quick there however large they
        are; the slow unlinking comes after.
        """
        wanted = list(digests)
        aside: list[Path] = []

        def move(txn: Txn) -> None:
            for digest in wanted:
                with self._moving:
                    if digest not in self._busy and self._ledger.blob(txn, digest) is None:
                        path = self._blobs.set_aside(digest)
                        if path is not None:
                            aside.append(path)

        try:
            self._records.writer.call(move)
        except StoreTrouble as exc:
            self.untidy = True
            log.warning("blobs without a record stay on disk: %s", exc)
        for path in aside:
            try:
                self._blobs.unlink(path)
            except StoreTrouble as exc:
                log.warning("a file stays behind until the next start: %s", exc)

    # ------------------------------------------------------------------ dropping and mending

    def drop(self, key: str) -> None:
        """Forgets a file, and its blob where no other file names it."""

        def drop(txn: Txn) -> Sha256 | None:
            digest = self._ledger.drop_file(txn, key_bytes(key))
            if digest is not None:
                self._ledger.drop_blob(txn, digest)
            return digest

        digest = self._write(drop)
        if digest is not None:
            self.unlink([digest])

    def mend(self, digest: Sha256) -> bool:
        """Looks at a blob that seems damaged, reading it all. True: its bytes are right. False: it is gone."""
        row = self._records.blob(digest)
        if row is None:
            return False
        seen = self._blobs.stat(digest)
        if seen is not None and seen.st_size == row.size and self._blobs.is_sound(digest):
            # Only its times are others: restored from a backup, or touched by somebody.
            mtime = seen.st_mtime_ns
            return self._records.writer.call(lambda txn: self._note_mtime(txn, digest, row, mtime))
        if not self._write(lambda txn: self._drop_unless_replaced(txn, digest, row)):
            return True
        log.warning("blob %s was damaged and is dropped", digest)
        self.unlink([digest])
        return False

    def _note_mtime(self, txn: Txn, digest: Sha256, looked_at: BlobRow, mtime_ns: int) -> bool:
        row = self._ledger.blob(txn, digest)
        if row is not None and row.mtime_ns == looked_at.mtime_ns:
            self._ledger.put_blob(txn, digest, BlobRow(row.size, mtime_ns, row.access))
        return row is not None

    def _drop_unless_replaced(self, txn: Txn, digest: Sha256, looked_at: BlobRow) -> bool:
        row = self._ledger.blob(txn, digest)
        if row is not None and (row.size, row.mtime_ns) != (looked_at.size, looked_at.mtime_ns):
            return False  # stored anew while we read the old one
        self._ledger.drop_blob(txn, digest)
        return True

    def _write(self, run: Write[T]) -> T:
        try:
            return self._records.writer.call(run)
        except Unfinished:
            # Rows may go after all, and nobody will know of their files.
            self.untidy = True
            raise

    # ------------------------------------------------------------------ uses

    def flush(self) -> None:
        """Writes down the uses noted so far."""
        taken = self._uses.take()
        if not taken:
            return
        try:
            self._records.writer.call(lambda txn: self._ledger.touch(txn, taken.items()))
        except StoreTrouble:
            self._uses.give_back(taken)
            raise
