"""Whether the rows of the index agree among themselves and can be read; mends what does not when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pyproxy.errors import BlobDamaged
from pyproxy.model import Sha256
from pyproxy.storage.environment import Table, Txn, translated
from pyproxy.storage.findings import Finding
from pyproxy.storage.records import Records
from pyproxy.storage.rows import BlobRow, is_sound_doc, unpack_file, unpack_head, unpack_page

_SLICE: Final = 500
"""Pages read in one transaction: an old reader keeps LMDB from using freed pages again."""

_PASSES: Final = 3
"""What is mended may leave what belonged to it alone, which the next pass finds."""

Repair = Callable[[Txn], object]
"""Looks again, in the write transaction, and mends."""

Readable = Callable[[Txn, bytes, bytes], bool]


class RowAudit:
    """Looks at one index. Every method blocks, and raises StoreTrouble."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._env = records.env
        self._ledger = records.ledger

    def ledger(self, *, mend: bool) -> Iterator[Finding]:
        """Files, blobs, order of use and total against each other, as of one instant: about 3 µs a row."""
        for _ in range(_PASSES if mend else 1):
            wrong = self._contradictions()
            for finding, repair in wrong:
                if mend:
                    self._records.writer.call(repair)
                yield Finding(finding.kind, finding.subject, finding.detail, mended=mend)
            if not wrong:
                break

    def pages(self, *, mend: bool) -> Iterator[Finding]:
        """Every page and document, in short slices: about 0.1 ms a page of usual size."""
        for _ in range(_PASSES if mend else 1):
            wrong = False
            for finding in self._pages(mend=mend):
                wrong = True
                yield finding
            if not wrong:
                break

    def _pages(self, *, mend: bool) -> Iterator[Finding]:
        env = self._env
        tables: tuple[tuple[Table, Readable], ...] = (
            (env.bodies, lambda txn, key, data: _held(txn, key, env.heads) and _is_page(data)),
            (env.heads, lambda txn, key, data: unpack_head(data) is not None and _held(txn, key, env.bodies)),
            (env.docs, lambda _, key, data: is_sound_doc(key, data)),
        )
        for table, readable in tables:
            start: bytes | None = b""
            while start is not None:
                wrong, start = self._unreadable(table, readable, start)
                for key, data in wrong:
                    if mend:
                        self._records.writer.call(_deletion(table, key, data))
                    yield Finding("page", _shown(key), "cannot be read", mended=mend)

    @translated
    def _unreadable(
        self, table: Table, readable: Readable, start: bytes
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """The rows of one slice that cannot be read, and where the next begins; None where it was the last."""
        wrong: list[tuple[bytes, bytes]] = []
        with self._env.reading() as txn, txn.cursor(db=table) as cursor:
            cursor.set_range(start)
            for seen, (key, data) in enumerate(cursor):
                if seen == _SLICE:
                    return wrong, key
                if not readable(txn, key, data):
                    wrong.append((key, data))
        return wrong, None

    @translated
    def _contradictions(self) -> list[tuple[Finding, Repair]]:
        with self._env.reading() as txn:
            return [*self._files(txn), *self._keys(txn), *self._order(txn), *self._total(txn)]

    def _files(self, txn: Txn) -> Iterator[tuple[Finding, Repair]]:
        with txn.cursor(db=self._env.keys) as keys:
            for key, data in txn.cursor(db=self._env.files):
                record = unpack_file(data)
                if record is None:
                    what = "cannot be read"
                elif (row := self._ledger.blob(txn, record.digest)) is None:
                    what = "its blob is not held"
                elif row.size != record.size:
                    what = f"{record.size} bytes, its blob has {row.size}"
                elif not keys.set_key_dup(bytes.fromhex(record.digest), key):
                    what = "its blob does not know it"
                else:
                    continue
                yield _finding(_shown(key), what), _deletion(self._env.files, key, data)

    def _keys(self, txn: Txn) -> Iterator[tuple[Finding, Repair]]:
        for raw, key in txn.cursor(db=self._env.keys):
            if not self._names(txn, raw, key):
                what = "a blob counts it among its files, and it is not"
                yield _finding(_shown(key), what), partial(self._drop_key, raw=raw, key=key)

    def _names(self, txn: Txn, raw: bytes, key: bytes) -> bool:
        record = unpack_file(txn.get(key, db=self._env.files))
        return record is not None and bytes.fromhex(record.digest) == raw

    def _drop_key(self, txn: Txn, raw: bytes, key: bytes) -> None:
        if not self._names(txn, raw, key):
            txn.delete(raw, key, db=self._env.keys)

    def _order(self, txn: Txn) -> Iterator[tuple[Finding, Repair]]:
        for digest, row in self._ledger.blobs(txn):
            if txn.get(row.lru_key(digest), db=self._env.lru) is None:
                what = "has no place in the order of use"
                yield _finding(digest, what), partial(self._place, digest=digest, row=row)
        for place in txn.cursor(db=self._env.lru).iternext(values=False):
            if not self._placed(txn, place):
                what = "a place in the order of use that no blob has"
                yield _finding(place[8:].hex(), what), partial(self._drop_place, place=place)

    def _place(self, txn: Txn, digest: Sha256, row: BlobRow) -> None:
        if self._ledger.blob(txn, digest) == row:
            txn.put(row.lru_key(digest), b"", db=self._env.lru)

    def _placed(self, txn: Txn, place: bytes) -> bool:
        digest = Sha256(place[8:].hex())
        row = self._ledger.blob(txn, digest)
        return row is not None and row.lru_key(digest) == place

    def _drop_place(self, txn: Txn, place: bytes) -> None:
        if not self._placed(txn, place):
            txn.delete(place, db=self._env.lru)

    def _total(self, txn: Txn) -> Iterator[tuple[Finding, Repair]]:
        sizes = [row.size for _, row in self._ledger.blobs(txn)]
        told = self._ledger.total(txn)
        if (told.size, told.blobs) != (sum(sizes), len(sizes)):
            detail = f"{told.size} bytes in {told.blobs} blobs, the rows say {sum(sizes)} in {len(sizes)}"
            yield Finding("total", "account", detail, mended=False), self._ledger.recount


def _finding(subject: str, detail: str) -> Finding:
    return Finding("row", subject, detail, mended=False)


def _deletion(table: Table, key: bytes, data: bytes) -> Repair:
    """Deletes the row unless it has changed since it was looked at."""
    return lambda txn: txn.get(key, db=table) == data and txn.delete(key, db=table)


def _held(txn: Txn, key: bytes, table: Table) -> bool:
    return txn.get(key, db=table) is not None


def _is_page(data: bytes) -> bool:
    try:
        unpack_page(data)
    except BlobDamaged:
        return False
    return True


def _shown(key: bytes) -> str:
    """A key as a person reads it; a hashed one in hexadecimal."""
    try:
        return key.decode().replace("\0", " ")
    except UnicodeDecodeError:
        return key.hex()
