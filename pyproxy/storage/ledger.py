"""The rows of blobs and files, their order of use and their total: changed together, in the caller's transaction.

Four tables that must agree, and the only code that writes them (but for row_audit.py, which mends them):
`blobs` digest → size, mtime, last use · `lru` (last use, digest) → nothing · `files` key → FileRecord ·
`keys` digest → the keys of `files` that name it; and in `meta` the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pyproxy.model import Sha256
from pyproxy.storage.environment import Environment, Txn
from pyproxy.storage.rows import BlobRow, FileRecord, Total, pack, unpack_file

TOTAL: Final = b"total"


class Ledger:
    """Stateless: everything is in the index, so every process sees the same."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    # ------------------------------------------------------------------ reading

    def total(self, txn: Txn) -> Total:
        return Total.unpack(txn.get(TOTAL, db=self._env.meta))

    def blob(self, txn: Txn, digest: Sha256) -> BlobRow | None:
        data = txn.get(bytes.fromhex(digest), db=self._env.blobs)
        return None if data is None else BlobRow.unpack(data)

    def file(self, txn: Txn, key: bytes) -> FileRecord | None:
        """The record under a key, where its blob is held."""
        record = unpack_file(txn.get(key, db=self._env.files))
        if record is None or txn.get(bytes.fromhex(record.digest), db=self._env.blobs) is None:
            return None
        return record

    def oldest_first(self, txn: Txn) -> Iterator[tuple[Sha256, int]]:
        """All blobs and their sizes, longest unused first."""
        for entry in txn.cursor(db=self._env.lru).iternext(values=False):
            digest = Sha256(entry[8:].hex())
            row = self.blob(txn, digest)
            if row is not None:
                yield digest, row.size

    def ends(self, txn: Txn) -> tuple[int, int] | None:
        """The earliest and the latest last use, in microseconds since the epoch; None without blobs."""
        with txn.cursor(db=self._env.lru) as cursor:
            if not cursor.first():
                return None
            first = cursor.key()[:8]
            cursor.last()
            return int.from_bytes(first, "big"), int.from_bytes(cursor.key()[:8], "big")

    def blobs(self, txn: Txn, prefix: bytes = b"") -> Iterator[tuple[Sha256, BlobRow]]:
        """The blob rows whose digests begin with these bytes."""
        with txn.cursor(db=self._env.blobs) as cursor:
            if not cursor.set_range(prefix):
                return
            for raw, data in cursor.iternext():
                if not raw.startswith(prefix):
                    return
                yield Sha256(raw.hex()), BlobRow.unpack(data)

    def shards(self, txn: Txn) -> set[str]:
        """The first two digits of the digests there are. Jumps from one to the next: at most 256 steps."""
        found: set[str] = set()
        with txn.cursor(db=self._env.blobs) as cursor:
            here = cursor.first()
            while here:
                first = cursor.key()[:1]
                found.add(first.hex())
                # No digest of 32 bytes is behind this one and begins as it does.
                here = cursor.set_range(first + b"\xff" * 32)
        return found

    # ------------------------------------------------------------------ writing

    def put_blob(self, txn: Txn, digest: Sha256, row: BlobRow) -> None:
        """Adds the blob, or replaces what is known of it."""
        raw = bytes.fromhex(digest)
        total = self.total(txn)
        old = self.blob(txn, digest)
        if old is not None:
            txn.delete(old.lru_key(digest), db=self._env.lru)
            total = Total(total.size - old.size, total.blobs - 1)
        txn.put(raw, row.pack(), db=self._env.blobs)
        txn.put(row.lru_key(digest), b"", db=self._env.lru)
        self._put_total(txn, Total(total.size + row.size, total.blobs + 1))

    def drop_blob(self, txn: Txn, digest: Sha256) -> BlobRow | None:
        """Drops the blob and every file that names it; what it was, or None."""
        raw = bytes.fromhex(digest)
        with txn.cursor(db=self._env.keys) as cursor:
            if cursor.set_key(raw):
                for key in cursor.iternext_dup():
                    txn.delete(key, db=self._env.files)
        txn.delete(raw, db=self._env.keys)
        row = self.blob(txn, digest)
        if row is None:
            return None
        txn.delete(raw, db=self._env.blobs)
        txn.delete(row.lru_key(digest), db=self._env.lru)
        total = self.total(txn)
        self._put_total(txn, Total(total.size - row.size, total.blobs - 1))
        return row

    def put_file(self, txn: Txn, key: bytes, record: FileRecord) -> bool:
        """Records a file whose blob is held. False, and nothing done, where it is not."""
        raw = bytes.fromhex(record.digest)
        if txn.get(raw, db=self._env.blobs) is None:
            return False
        self._forget_key(txn, key)
        txn.put(key, pack(record), db=self._env.files)
        txn.put(raw, key, db=self._env.keys)
        return True

    def drop_file(self, txn: Txn, key: bytes) -> Sha256 | None:
        """Drops the record; the digest of the blob that no file names any more, if so."""
        digest = self._forget_key(txn, key)
        txn.delete(key, db=self._env.files)
        if digest is None or txn.get(bytes.fromhex(digest), db=self._env.keys) is not None:
            return None
        return digest

    def touch(self, txn: Txn, uses: Iterable[tuple[Sha256, int]]) -> None:
        """Notes later uses, in microseconds; blobs that are gone are passed over, and no use moves backwards."""
        for digest, access in uses:
            row = self.blob(txn, digest)
            if row is not None and access > row.access:
                used = BlobRow(row.size, row.mtime_ns, access)
                txn.delete(row.lru_key(digest), db=self._env.lru)
                txn.put(bytes.fromhex(digest), used.pack(), db=self._env.blobs)
                txn.put(used.lru_key(digest), b"", db=self._env.lru)

    def recount(self, txn: Txn) -> Total:
        """Sets the total to what the rows add up to."""
        size = blobs = 0
        for _, row in self.blobs(txn):
            size, blobs = size + row.size, blobs + 1
        total = Total(size, blobs)
        self._put_total(txn, total)
        return total

    def _forget_key(self, txn: Txn, key: bytes) -> Sha256 | None:
        old = unpack_file(txn.get(key, db=self._env.files))
        if old is None:
            return None
        txn.delete(bytes.fromhex(old.digest), key, db=self._env.keys)
        return old.digest

    def _put_total(self, txn: Txn, total: Total) -> None:
        txn.put(TOTAL, total.pack(), db=self._env.meta)
