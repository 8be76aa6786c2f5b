"""Whether the rows of local content agree with each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from pyproxy.errors import BlobDamaged
from pyproxy.model import Sha256
from pyproxy.storage.environment import Txn, translated
from pyproxy.storage.findings import Finding
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import NUMBER, Head, Taken, row_key, sidecar_key
from pyproxy.storage.local_view import scan, unpacked
from pyproxy.storage.writer import Writer


class LocalRowAudit:
    """Looks at the rows of one store, all as of one instant. Every method blocks."""

    def __init__(self, ledger: LocalLedger, writer: Writer) -> None:
        self._ledger = ledger
        self._writer = writer

    def rows(self, *, mend: bool) -> Iterator[Finding]:
        """Rows that cannot be, and counts that are wrong; only those can be mended. Raises StoreTrouble."""
        found, miscounted = self._look()
        yield from found
        # What a row that cannot be read needs is not known, so nothing may be counted without it.
        mend = mend and not any(finding.kind == "row" for finding in found)
        if mend and miscounted:
            self._writer.call(self._recount)
        for digest, (counted, told) in miscounted.items():
            yield Finding("total", digest, f"{counted} rows need it, recorded as {told}", mended=mend)

    @translated
    def documents(self) -> list[Finding]:
        """Documents whose bytes are not what their digests say. Raises StoreTrouble."""
        with self._ledger.env.reading() as txn:
            return [
                Finding("altered", key.hex(), "a document's bytes do not have its digest", mended=False)
                for key, body in txn.cursor(db=self._ledger.env.docs)
                if hashlib.sha256(body).digest() != key
            ]

    @translated
    def _look(self) -> tuple[list[Finding], dict[Sha256, tuple[int, int]]]:
        with self._ledger.env.reading() as txn:
            return list(self._wrong(txn)), self._miscounted(txn)

    def _wrong(self, txn: Txn) -> Iterator[Finding]:
        env = self._ledger.env
        for name, head in self._ledger.heads(txn):
            held = 0
            for key, value in scan(txn, env.current, head.prefix):
                held += 1
                yield from self._wrong_row(txn, name, head, key, value)
                if not 0 < _number(value[:NUMBER]) <= head.latest:
                    yield Finding("row", f"{name}/{_shown(key)}", "no version added it", mended=False)
            for key, value in scan(txn, env.past, head.prefix):
                yield from self._wrong_row(txn, name, head, key[: -NUMBER - 1], value)
                if not 0 < _number(key[-NUMBER:]) < _number(value[:NUMBER]) <= head.latest:
                    yield Finding("row", f"{name}/{_shown(key)}", "it ends before it begins", mended=False)
            last = self._ledger.version(txn, head, head.latest)
            if head.latest and (last is None or not held == last.files == head.files):
                detail = f"version {head.latest} holds {held} files and is recorded otherwise"
                yield Finding("row", name, detail, mended=False)

    def _wrong_row(self, txn: Txn, name: str, head: Head, key: bytes, value: bytes) -> Iterator[Finding]:
        ledger = self._ledger
        try:
            file = unpacked(value[NUMBER:])
        except BlobDamaged:
            yield Finding("row", f"{name}/{_shown(key)}", "it cannot be read", mended=False)
            return
        if row_key(head, file.project, file.filename) != key:
            wrong = "it is another file's row"
        elif ledger.taken(txn, head, file.filename) != Taken(file.digest, file.project):
            wrong = "its name is not recorded as taken by these bytes"
        elif ledger.sidecar(txn, sidecar_key(name, file.filename, file.digest)) is None:
            wrong = "its sidecar is not recorded"
        elif ledger.blob(txn, file.digest) is None:
            wrong = "its blob is not recorded"
        elif any(ledger.doc(txn, digest) is None for digest in file.digests[1:]):
            wrong = "its core metadata or provenance is lost"
        else:
            return
        yield Finding("row", f"{name}/{file.filename}", wrong, mended=False)

    def _miscounted(self, txn: Txn) -> dict[Sha256, tuple[int, int]]:
        """Of each digest, how many rows need it and how many are recorded, where the two differ."""
        env = self._ledger.env
        counted: Counter[Sha256] = Counter()
        for table in (env.current, env.past):
            for _, value in txn.cursor(db=table):
                try:
                    counted.update(unpacked(value[NUMBER:]).digests)
                except BlobDamaged:
                    continue  # told of with the rows
        known = {Sha256(key.hex()) for table in (env.refs, env.blobs, env.docs) for key, _ in txn.cursor(db=table)}
        told = {digest: self._ledger.refs(txn, digest) for digest in known | counted.keys()}
        return {digest: (counted[digest], count) for digest, count in told.items() if counted[digest] != count}

    def _recount(self, txn: Txn) -> None:
        for digest, (counted, _) in self._miscounted(txn).items():
            self._ledger.put_refs(txn, digest, counted)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _shown(key: bytes) -> str:
    return key[4:].replace(b"\0", b"/").decode("ascii", "replace")
