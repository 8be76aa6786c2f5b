"""The blocking work on blobs and their rows: keeping, evicting, dropping, mending. For threads, not for the loop.

A row is deleted before its file, and a file stands before its row is written, so a crash leaves files without rows,
never rows without files. Many processes may do this at once: the index's write lock is what they share.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.blobs import Blobs, Each
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import Txn
from pyproxy.storage.incoming import Incoming, failed
from pyproxy.storage.lru import victims
from pyproxy.storage.records import Records
from pyproxy.storage.room import Room
from pyproxy.storage.rows import BlobRow, FileRecord, Total, key_bytes
from pyproxy.storage.temps import Temp
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

    def keep(self, incoming: Sequence[Incoming], *, each: Each = map) -> None:
        """Makes each a blob and records it. What went wrong with one is its `trouble`; it is not recorded then.

        Several share folders, syncs and one commit. `each` has them synced.
        """
        evicted: list[tuple[Sha256, int]] = []
        try:
            with self._keeping([one.record.digest for one in incoming]):
                evicted = self._keep(incoming, each)
        except Exception as exc:  # noqa: BLE001 - whatever it is, who waits for them is told
            failed(incoming, exc)
        finally:
            if astray := [one.record.digest for one in incoming if one.trouble is not None]:
                self.unlink(astray)  # their files may stand there without a row
            for one in incoming:
                one.let_go()
        self._unlink_evicted(evicted)

    @contextmanager
    def _keeping(self, digests: list[Sha256]) -> Iterator[None]:
        with self._moving:
            self._busy.update(digests)
        try:
            yield
        finally:
            with self._moving:
                self._busy.subtract(digests)
                for digest in digests:
                    if not self._busy[digest]:
                        del self._busy[digest]

    def _keep(self, incoming: Sequence[Incoming], each: Each) -> list[tuple[Sha256, int]]:
        """The blobs that had to go for them."""
        new: dict[Sha256, Incoming] = {}
        for one in incoming:
            # The same bytes under another link, say, are there. The file stays: readers compare its mtime with the row.
            if one.record.digest not in new and not self._stands(one.record):
                new[one.record.digest] = one
        self._adopt(new.values(), each)
        evicted = self._record(incoming)
        if vanished := [one for one in incoming if isinstance(one.trouble, _Vanished)]:
            for one in vanished:
                one.trouble = None
                self._adopt([one], each)
            evicted += self._record(vanished)
        return evicted

    def _adopt(self, incoming: Iterable[Incoming], each: Each) -> None:
        whole = []
        for one in incoming:
            try:
                whole.append((one, self._written(one)))
            except StoreTrouble as exc:
                one.trouble = exc
        troubles = self._blobs.adopt_all([(temp, one.record.digest) for one, temp in whole], each=each)
        for (one, temp), trouble in zip(whole, troubles, strict=True):
            one.trouble = trouble
            if trouble is None:
                temp.moved()

    def _written(self, one: Incoming) -> Temp:
        temp = one.temp
        if temp is None:
            temp = one.temp = self._blobs.temp()
            temp.write(one.body)
        self._disk.point("all-written", temp.path)
        if temp.size != one.record.size:
            raise StoreTrouble(f"{temp.size} bytes were written of {one.record.size}")
        self._disk.point("hash-checked", temp.path)
        return temp

    def _record(self, incoming: Sequence[Incoming]) -> list[tuple[Sha256, int]]:
        sound = [one for one in incoming if one.trouble is None]
        if not sound:
            return []
        try:
            return self._write(lambda txn: [gone for one in sound for gone in self._commit(txn, one)])
        except Exception as exc:  # noqa: BLE001 - whatever it is, who waits for them is told
            if len(sound) == 1 or isinstance(exc, Unfinished):
                failed(sound, exc)
                return []
            # One bad write must not take the others with it: each again, for itself.
            return [gone for one in sound for gone in self._record([one])]

    def _stands(self, record: FileRecord) -> bool:
        row = self._records.blob(record.digest)
        if row is None:
            return False
        found = self._blobs.stat(record.digest)
        if found is None:
            return False
        return found.st_size == row.size == record.size and found.st_mtime_ns == row.mtime_ns

    def _commit(self, txn: Txn, one: Incoming) -> list[tuple[Sha256, int]]:
        digest, size = one.record.digest, one.record.size
        found = self._blobs.stat(digest)
        if found is None or found.st_size != size:
            raise _Vanished(f"blob {digest} was taken away while it was stored")
        old = self._ledger.blob(txn, digest)
        total = self._ledger.total(txn).size - (old.size if old is not None else 0)
        # The command line counts with nobody: what was promised too much together ends here.
        excess = total + size - self._room.limit
        evicted = self._drop_oldest(txn, excess)
        if sum(size for _, size in evicted) < excess:
            raise StoreFull(f"{size} bytes do not fit into a cache of {self._room.limit}")
        self._ledger.put_blob(txn, digest, BlobRow(size, found.st_mtime_ns, one.used))
        self._ledger.put_file(txn, key_bytes(one.key), one.record)
        # Here, where evictions are decided too: later, one of them would count the blob and its reservation both.
        one.room.settle()
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
