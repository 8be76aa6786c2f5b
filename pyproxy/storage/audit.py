"""Whether files and rows agree, both ways; mends what does not when it is told to.

All of it can be fetched again, so what cannot be explained goes. The store may be in use meanwhile: what looks
wrong is looked at again before it counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from pyproxy.model import Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.environment import translated
from pyproxy.storage.findings import Finding, Kind
from pyproxy.storage.records import Records
from pyproxy.storage.rows import BlobRow
from pyproxy.storage.stock import Stock

YOUNG: Final = 3600.0
"""Seconds during which a blob without a row may be a download that another process is about to record."""


class Audit:
    """Looks at the blobs of one store. Every method blocks. `alone`: no other process has the store open."""

    def __init__(
        self, blobs: Blobs, records: Records, stock: Stock, *, alone: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._blobs = blobs
        self._records = records
        self._stock = stock
        self._alone = alone
        self._clock = clock

    def shards(self) -> list[str]:
        """What there is to look at: the first two digits of the digests on disk and in the index."""
        return sorted(self._blobs.shards() | self._row_shards())

    def blobs(self, shard: str, *, mend: bool, rehash: bool) -> Iterator[Finding]:
        """The rows of a shard against their files; with `rehash` every file is read. Raises StoreTrouble."""
        for digest, row in self._rows(shard).items():
            wrong = self._wrong(digest, row, rehash=rehash)
            if wrong is None or self._records.blob(digest) != row:
                continue  # in the second case evicted, or stored anew, while we looked
            kind, detail = wrong
            sound = mend and self._stock.mend(digest)
            yield Finding(kind, digest, detail, mended=mend, nbytes=0 if sound or not mend else -row.size)

    def orphans(self, shard: str) -> Iterator[tuple[Sha256, int]]:
        """The files of a shard that no row knows, and their sizes. Raises StoreTrouble."""
        rows = self._rows(shard)
        for digest in self._blobs.shard(shard):
            if digest in rows or self._records.blob(digest) is not None:
                continue
            found = self._blobs.stat(digest)
            if found is not None and (self._alone or self._clock() - found.st_mtime > YOUNG):
                yield digest, found.st_size

    def orphan(self, digest: Sha256, size: int, *, mend: bool) -> Finding:
        """Mended, it is taken into the cache if its bytes are right, and else taken away. Raises StoreTrouble."""
        if not mend:
            return Finding("orphan", digest, f"{size} bytes that no record knows", mended=False)
        if self._stock.adopt_orphan(digest):
            return Finding("orphan", digest, f"{size} bytes that no record knew: recorded", mended=True, nbytes=size)
        return Finding("orphan", digest, f"{size} bytes that no record knew: removed", mended=True)

    def _wrong(self, digest: Sha256, row: BlobRow, *, rehash: bool) -> tuple[Kind, str] | None:
        found = self._blobs.stat(digest)
        if found is None:
            return "missing", "its file is gone"
        if found.st_size != row.size:
            return "cut", f"{found.st_size} bytes, recorded as {row.size}"
        if rehash and not self._blobs.is_sound(digest):
            return "altered", "its bytes do not have its digest"
        if rehash and found.st_mtime_ns != row.mtime_ns:
            return "touched", "its file has another time"
        return None

    @translated
    def _row_shards(self) -> set[str]:
        with self._records.env.reading() as txn:
            return self._records.ledger.shards(txn)

    @translated
    def _rows(self, shard: str) -> dict[Sha256, BlobRow]:
        with self._records.env.reading() as txn:
            return dict(self._records.ledger.blobs(txn, bytes.fromhex(shard)))
