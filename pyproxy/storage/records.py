"""The facts of the cache: pages with their validators, files, documents, and what was learned of core metadata.

Reads are inline and take microseconds: each is one short transaction, and what it returns is a copy. Writes go
through the one writer thread and are on disk when they return. A page that does not exist is not stored:
remembering that is memory's business.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import lmdb
import msgspec

from pyproxy.model import Filename, ProjectName, Sha256
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import MAP_SIZE, Environment, IndexDamaged, Txn, lmdb_trouble, translated
from pyproxy.storage.ledger import Ledger
from pyproxy.storage.rows import (
    BESIDE,
    SCHEMA,
    BlobRow,
    DocRecord,
    FileRecord,
    PageHead,
    doc_key,
    file_key,
    key_bytes,
    learned_prefix,
    pack,
    pack_page,
    page_key,
    unpack_doc,
    unpack_head,
    unpack_page,
)
from pyproxy.storage.writer import Writer

__all__ = [
    "BESIDE",
    "DocRecord",
    "FileRecord",
    "Learned",
    "PageHead",
    "Records",
    "file_key",
    "pack_page",
    "unpack_page",
]

_SCHEMA_KEY: Final = b"schema"
_SEQUENCE: Final = b"sequence"
_RELIEF: Final = 4  # a full index loses the oldest quarter of its pages and documents


class Learned:
    """What was found out here of the core metadata of a project's wheels.

    `version` is 0 where nothing was, and grows with every finding; reading it costs a microsecond, whereas `digests`
    is read when it is asked for. It may then be newer than `version`, never older.
    """

    __slots__ = ("_prefix", "_records", "version")

    def __init__(self, records: Records, prefix: bytes, version: int) -> None:
        self.version = version
        self._records = records
        self._prefix = prefix

    @property
    def digests(self) -> dict[Filename, Sha256]:
        """By wheel, the SHA-256 of its core metadata. Raises StoreTrouble."""
        return self._records.learned_digests(self._prefix) if self.version else {}


class Records:
    """The index at `path`, which must exist as a folder. One object a process."""

    def __init__(self, path: Path, disk: Disk, *, map_size: int = MAP_SIZE) -> None:
        """Raises StoreTrouble, and IndexDamaged where the index cannot be used any more."""
        self.env = Environment(path, map_size=map_size)
        self.ledger = Ledger(self.env)
        self.writer = Writer(self.env, disk, relieve=self._relieve)
        try:
            self._check_schema()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Writes what waits and closes the index; nothing can be read or written after it."""
        self.writer.close()
        self.env.close()

    def _check_schema(self) -> None:
        try:
            with self.env.reading() as txn:
                found = txn.get(_SCHEMA_KEY, db=self.env.meta)
        except lmdb.Error as exc:
            raise lmdb_trouble(exc, "cannot read the index") from exc
        if found is None:
            self.writer.call(lambda txn: txn.put(_SCHEMA_KEY, SCHEMA, db=self.env.meta))
        elif found != SCHEMA:
            raise IndexDamaged("it was written by another version of pyproxy")

    # ------------------------------------------------------------------ pages

    @translated
    def stamp(self) -> int:
        """Another number after every change by any process, a quarter of a microsecond: the index's last commit."""
        txn = self.env.reading()
        try:
            return txn.id()
        finally:
            txn.abort()

    @translated
    def page_head(self, remote: str, project: ProjectName) -> PageHead | None:
        with self.env.reading() as txn:
            return unpack_head(txn.get(page_key(remote, project), db=self.env.heads))

    @translated
    def page_body(self, remote: str, project: ProjectName) -> bytes | None:
        """The page as `pack_page` made it."""
        with self.env.reading() as txn:
            return txn.get(page_key(remote, project), db=self.env.bodies)

    @translated
    def page(self, remote: str, project: ProjectName) -> tuple[PageHead, bytes] | None:
        """Head and body as of one instant."""
        key = page_key(remote, project)
        with self.env.reading() as txn:
            head = unpack_head(txn.get(key, db=self.env.heads))
            body = txn.get(key, db=self.env.bodies)
        return None if head is None or body is None else (head, body)

    async def put_page(self, remote: str, project: ProjectName, head: PageHead, body: bytes | None) -> PageHead | None:
        """Stores a page (`body` from `pack_page`), or with None confirms the one that is stored (304).

        Returns the head as stored, with the version of its body. A confirmation is about one body: where another was
        stored since (`head.version` is not 0 and not the stored one) nothing is done and the stored head is returned;
        None where there is no page to confirm. Raises StoreFull, StoreTrouble.
        """
        (stored,) = await self.put_pages(remote, [(project, head, body)])
        return stored

    async def put_pages(
        self, remote: str, pages: Sequence[tuple[ProjectName, PageHead, bytes | None]]
    ) -> list[PageHead | None]:
        """The same for several pages, all or none of them."""
        rows = [(page_key(remote, project), head, body) for project, head, body in pages]
        return await self.writer.write(lambda txn: [self._put_page(txn, *row) for row in rows])

    def _put_page(self, txn: Txn, key: bytes, head: PageHead, body: bytes | None) -> PageHead | None:
        old = unpack_head(txn.get(key, db=self.env.heads))
        if body is None:
            if old is None or head.version not in (0, old.version):
                return old
            head = msgspec.structs.replace(head, version=old.version)
        else:
            same = old is not None and txn.get(key, db=self.env.bodies) == body
            version = old.version if same and old is not None else self._next_version(txn)
            head = msgspec.structs.replace(head, version=version)
            if not same:
                txn.put(key, body, db=self.env.bodies)
        txn.put(key, pack(head), db=self.env.heads)
        return head

    async def drop_page(self, remote: str, project: ProjectName, *, version: int | None = None) -> None:
        """Forgets a page, if it is there; with a `version`, if its body is of that. Raises StoreTrouble."""
        key = page_key(remote, project)

        def drop(txn: Txn) -> None:
            head = unpack_head(txn.get(key, db=self.env.heads)) if version is not None else None
            if head is not None and head.version != version:
                return
            txn.delete(key, db=self.env.heads)
            txn.delete(key, db=self.env.bodies)

        await self.writer.write(drop)

    def _next_version(self, txn: Txn) -> int:
        # The clock alone might be set back, a count alone might begin anew in a fresh index while a page rendered from
        # the old one is still in some worker's memory.
        last = int.from_bytes(txn.get(_SEQUENCE, db=self.env.meta) or b"", "big")
        version = max(last + 1, time.time_ns() // 1000)
        txn.put(_SEQUENCE, version.to_bytes(8, "big"), db=self.env.meta)
        return version

    # ------------------------------------------------------------------ files

    @translated
    def file(self, key: str) -> FileRecord | None:
        """The record under a `file_key`, where its blob is held."""
        with self.env.reading() as txn:
            return self.ledger.file(txn, key_bytes(key))

    @translated
    def blob(self, digest: Sha256) -> BlobRow | None:
        with self.env.reading() as txn:
            return self.ledger.blob(txn, digest)

    async def put_file(self, key: str, record: FileRecord) -> bool:
        """Records one more file of a blob that is held; False where it is not. Raises StoreFull, StoreTrouble."""
        return await self.writer.write(lambda txn: self.ledger.put_file(txn, key_bytes(key), record))

    # ------------------------------------------------------------------ core metadata

    @translated
    def learned(self, remote: str, project: ProjectName) -> Learned:
        prefix = learned_prefix(remote, project)
        with self.env.reading() as txn:
            count = txn.get(prefix, db=self.env.learned)
        return Learned(self, prefix, int.from_bytes(count or b"", "big"))

    @translated
    def learned_digests(self, prefix: bytes) -> dict[Filename, Sha256]:
        """0.4 µs a wheel."""
        found: dict[Filename, Sha256] = {}
        with self.env.reading() as txn, txn.cursor(db=self.env.learned) as cursor:
            if cursor.set_key(prefix):
                cursor.next()
                for key, value in cursor.iternext():
                    if not key.startswith(prefix):
                        break
                    found[Filename(key[len(prefix) :].decode(errors="replace"))] = Sha256(value.hex())
        return found

    async def learn(self, remote: str, project: ProjectName, filename: Filename, digest: Sha256) -> None:
        """Keeps the SHA-256 of a wheel's core metadata. Raises StoreFull, StoreTrouble."""
        prefix = learned_prefix(remote, project)
        key, value = prefix + filename.encode(), bytes.fromhex(digest)

        def put(txn: Txn) -> None:
            if txn.get(key, db=self.env.learned) != value:
                count = int.from_bytes(txn.get(prefix, db=self.env.learned) or b"", "big") + 1
                txn.put(prefix, count.to_bytes(8, "big"), db=self.env.learned)
                txn.put(key, value, db=self.env.learned)

        await self.writer.write(put)

    # ------------------------------------------------------------------ documents

    @translated
    def doc(self, remote: str, kind: str, name: str) -> DocRecord | None:
        with self.env.reading() as txn:
            return unpack_doc(txn.get(doc_key(remote, kind, name), db=self.env.docs))

    async def put_doc(self, remote: str, kind: str, name: str, record: DocRecord) -> None:
        """Raises StoreFull, StoreTrouble."""
        await self.put_docs(remote, kind, {name: record})

    async def put_docs(self, remote: str, kind: str, records: Mapping[str, DocRecord]) -> None:
        """Several by their names, all or none of them. Raises StoreFull, StoreTrouble."""
        rows = [(doc_key(remote, kind, name), pack(record)) for name, record in records.items()]

        def put(txn: Txn) -> None:
            for key, value in rows:
                txn.put(key, value, db=self.env.docs)

        await self.writer.write(put)

    async def drop_doc(self, remote: str, kind: str, name: str) -> None:
        """Forgets a document, if it is there. Raises StoreTrouble."""
        key = doc_key(remote, kind, name)
        await self.writer.write(lambda txn: txn.delete(key, db=self.env.docs))

    # ------------------------------------------------------------------ a full index

    def _relieve(self, txn: Txn) -> bool:
        """Drops the oldest pages and documents; whether there were any."""
        count = txn.stat(self.env.heads)["entries"] + txn.stat(self.env.docs)["entries"]
        for _, table, key in heapq.nsmallest(-(-count // _RELIEF), self._ages(txn)):
            if table == "page":
                txn.delete(key, db=self.env.heads)
                txn.delete(key, db=self.env.bodies)
            else:
                txn.delete(key, db=self.env.docs)
        return count > 0

    def _ages(self, txn: Txn) -> Iterator[tuple[float, Literal["page", "doc"], bytes]]:
        for key, value in txn.cursor(db=self.env.heads):
            head = unpack_head(value)
            yield (head.fetched_at if head is not None else 0.0), "page", key
        for key, value in txn.cursor(db=self.env.docs):
            doc = unpack_doc(value)
            yield (doc.fetched_at if doc is not None else 0.0), "doc", key
