"""Brings sidecars up to what the rows say, after a change and where a crash came between the two.

A change commits first, with a note of each sidecar that is out of date by it; who made the change then writes those.
The notes go when the sidecars are sure to last, so a crash leaves work, never a lie.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from pyproxy.errors import BlobDamaged, StoreTrouble
from pyproxy.model import Filename, Sha256
from pyproxy.storage.environment import Txn, translated
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import NUMBER, Head, LocalFile, Taken, row_key
from pyproxy.storage.local_view import scan, unpacked
from pyproxy.storage.sidecars import FORMAT, Sidecar, Sidecars
from pyproxy.storage.temps import Temp
from pyproxy.storage.writer import Writer

log = logging.getLogger(__name__)
T = TypeVar("T")

PORTION: Final = 64
"""Sidecars that are written and then renamed together."""


@dataclass(slots=True)
class _Draft:
    key: bytes
    note: bytes  # as it stands in `pending`: the transaction that made the sidecar out of date
    sidecar: Sidecar
    temp: Temp | None = None


class CatchingUp:
    """The work on the sidecars of one store. Every method blocks. `pool` is for the writing of many at once."""

    def __init__(self, ledger: LocalLedger, writer: Writer, sidecars: Sidecars, pool: Executor) -> None:
        self._ledger = ledger
        self._writer = writer
        self._sidecars = sidecars
        self._pool = pool

    def work(self, keys: Iterable[bytes]) -> bool:
        """Writes these sidecars where they are out of date. False where some still are. Never raises.

        The change itself is on disk; only a later rebuild from sidecars would miss it.
        """
        left = iter(keys)
        done = True
        while portion := list(islice(left, PORTION)):
            try:
                self._portion(portion)
            except StoreTrouble as exc:
                log.warning("sidecars stay out of date until the next start or verify: %s", exc)
                done = False
        return done

    @translated
    def waiting(self) -> list[bytes]:
        """The sidecars that are out of date. Raises StoreTrouble."""
        with self._ledger.env.reading() as txn:
            return list(txn.cursor(db=self._ledger.env.pending).iternext(values=False))

    def expected(self, txn: Txn, key: bytes) -> Sidecar | None:
        """What a sidecar is to say; None where no name is taken for it."""
        about = self._ledger.sidecar(txn, key)
        if about is None:
            return None
        repository, filename = about
        head = self._ledger.head(txn, repository)
        taken = None if head is None else self._ledger.taken(txn, head, filename)
        if head is None or taken is None:
            return None
        file, removed = self._latest_row(txn, head, taken, filename)
        documents = (file.metadata, file.attestations) if file is not None else (None, None)
        return Sidecar(
            format=FORMAT,
            repository=repository,
            filename=filename,
            project=taken.project,
            sha256=taken.digest,
            highest=head.latest,
            removed=removed,
            file=file,
            metadata=self._document(txn, documents[0]),
            provenance=self._document(txn, documents[1]),
        )

    def _latest_row(self, txn: Txn, head: Head, taken: Taken, filename: Filename) -> tuple[LocalFile | None, bool]:
        key = row_key(head, taken.project, filename)
        value = txn.get(key, db=self._ledger.env.current)
        if value is not None:
            return unpacked(value[NUMBER:]), False
        rows = [row for _, row in scan(txn, self._ledger.env.past, key + b"\0")]
        return (unpacked(rows[-1][NUMBER:]) if rows else None), True

    def _document(self, txn: Txn, digest: Sha256 | None) -> bytes | None:
        return None if digest is None else self._ledger.doc(txn, digest)

    # ------------------------------------------------------------------ a portion

    def _portion(self, keys: Sequence[bytes]) -> None:
        """Writes outside of the transaction, where fsyncs hold nobody up, and renames within one."""
        drafts = self._drafts(keys)
        try:
            together(self._pool, self._write, drafts)
            placed = self._writer.call(lambda txn: self._place(txn, drafts))
            together(self._pool, self._sidecars.sync, {self._sidecars.path(draft.key).parent for draft in placed})
            self._writer.call(lambda txn: self._settle(txn, placed))
        finally:
            for draft in drafts:
                if draft.temp is not None:
                    draft.temp.discard()

    @translated
    def _drafts(self, keys: Sequence[bytes]) -> list[_Draft]:
        drafts = []
        with self._ledger.env.reading() as txn:
            for key in keys:
                note = txn.get(key, db=self._ledger.env.pending)
                try:
                    sidecar = None if note is None else self.expected(txn, key)
                except BlobDamaged as exc:
                    log.warning("%s", exc)
                    continue
                if note is not None and sidecar is not None:
                    drafts.append(_Draft(key, note, sidecar))
        return drafts

    def _write(self, draft: _Draft) -> None:
        self._sidecars.make_folder(draft.sidecar.sha256)
        draft.temp = self._sidecars.written(draft.sidecar.encode())

    def _place(self, txn: Txn, drafts: list[_Draft]) -> list[_Draft]:
        # Another change may have come between: who made that writes the sidecar, after us.
        valid = [draft for draft in drafts if self._noted(txn, draft)]
        for draft in valid:
            if draft.temp is not None and draft.temp.fd >= 0:  # else this runs for the second time
                self._sidecars.place(draft.temp, draft.key)
        return valid

    def _settle(self, txn: Txn, placed: list[_Draft]) -> None:
        for draft in placed:
            if self._noted(txn, draft):
                txn.delete(draft.key, db=self._ledger.env.pending)

    def _noted(self, txn: Txn, draft: _Draft) -> bool:
        return txn.get(draft.key, db=self._ledger.env.pending) == draft.note


def together(pool: Executor, work: Callable[[T], object], items: Iterable[T]) -> None:
    """Does the work for each, several at once, and waits for all of it. Raises the first error, after that."""
    done = [pool.submit(work, item) for item in items]
    wait(done)
    for future in done:
        future.result()
