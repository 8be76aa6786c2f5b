"""Taking files into a repository: bytes, sidecar and row, in this order, so that a crash leaves no row without both.

What stands on disk without a row may be taken away by anyone who holds the index's write lock. So the transaction
that writes the rows looks once more whether all is there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from pyproxy.errors import PyproxyError, StoreTrouble
from pyproxy.model import Filename, Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.catching_up import together
from pyproxy.storage.changes import Change, Done
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import Txn, translated
from pyproxy.storage.keyed_locks import KeyedLocks
from pyproxy.storage.local_ledger import LocalLedger, exists
from pyproxy.storage.local_rows import Action, LocalBlob, LocalFile, Outcome, sidecar_key
from pyproxy.storage.sidecars import FORMAT, Sidecar, Sidecars
from pyproxy.storage.temps import Temp
from pyproxy.storage.writer import Writer
from pyproxy.upload.named import identity

log = logging.getLogger(__name__)

ATTEMPTS: Final = 8
"""How often an add is prepared anew because other processes changed what it relied on."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be added: its bytes in a temporary file of this store, already checked against `file.digest`.

    `metadata` and `attestations` are the documents themselves; their digests in `file` are set from them, and an
    `upload_time` that is missing is set to now.
    """

    temp: Temp
    file: LocalFile
    metadata: bytes | None = None
    attestations: bytes | None = None


@dataclass(slots=True)
class _Item:
    temp: Temp
    file: LocalFile
    key: bytes
    documents: dict[Sha256, bytes]
    metadata: bytes | None
    provenance: bytes | None
    named: bool = False  # the name is taken, by these bytes, so its sidecar is there
    already: bool = False  # and the latest version holds the file
    stands: bool = False  # the blob is there, with its row
    claim: int = 0  # the version that the sidecar allows for
    left: bool = False  # something of it may stand on disk


class _Again:
    """Something was not as prepared for."""


class Intake:
    """The adds of one process to one store. Every method blocks."""

    def __init__(
        self,
        ledger: LocalLedger,
        writer: Writer,
        blobs: Blobs,
        sidecars: Sidecars,
        *,
        disk: Disk,
        pool: Executor,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._blobs = blobs
        self._sidecars = sidecars
        self._disk = disk
        self._pool = pool
        self._clock = clock
        # Names, so that of two adds under one name the second finds what the first did; and digests, so that no blob
        # is put over the same one that a row was just written for.
        self._held = KeyedLocks()

    def add(self, repository: str, files: Sequence[NewFile], *, action: Action, summary: str) -> Done:
        """Adds the files as one version. Takes the temps over in any case.

        Raises FileExists, StoreFull, StoreTrouble; nothing of it is kept then.
        """
        try:
            items = self._items(repository, files)
            digests = {("digest", item.file.digest) for item in items.values()}
            with self._held.held(digests | {("name", f"{repository}/{name}") for name in items}):
                try:
                    return self._add(repository, list(items.values()), action, summary)
                except BaseException:
                    self._clear_away([item for item in items.values() if item.left])
                    raise
        finally:
            for new in files:
                new.temp.discard()

    def is_busy(self, digest: Sha256) -> bool:
        """Whether an add of this process relies on the blob."""
        return self._held.wanted(("digest", digest))

    def _items(self, repository: str, files: Sequence[NewFile]) -> dict[Filename, _Item]:
        items: dict[Filename, _Item] = {}
        spellings: dict[str, Filename] = {}
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for new in files:
            item = _item(repository, new, now)
            same = items.setdefault(item.file.filename, item)
            if (same.file.digest, same.file.project) != (item.file.digest, item.file.project):
                raise exists(item.file.filename, "is there twice, with other bytes")
            spelled = spellings.setdefault(identity(item.file.filename) or item.file.filename, item.file.filename)
            if spelled != item.file.filename:
                raise exists(item.file.filename, f"is another spelling of {spelled}")
        return items

    def _add(self, repository: str, items: list[_Item], action: Action, summary: str) -> Done:
        for attempt in range(ATTEMPTS):
            latest = self._look(repository, items)
            if all(item.already and item.stands for item in items):
                return Done(Outcome(latest, already=tuple(item.file.filename for item in items)))
            # Exact where we are alone. Else others make versions while we write: a sidecar may allow for too many,
            # but never for too few.
            alone = attempt == 0 and len(self._held) <= 1
            claim = latest + (1 if alone else len(self._held) * 4 ** (attempt + 1))
            prepare = partial(self._prepare, repository, claim)
            if len(items) == 1:
                prepare(items[0])
            else:
                together(self._pool, prepare, items)
            done = self._writer.call(lambda txn: self._commit(txn, repository, items, action, summary))
            if isinstance(done, PyproxyError):
                raise done
            if isinstance(done, Done):
                return done
        raise StoreTrouble("the repository is changed faster than files can be added")

    # ------------------------------------------------------------------ before the transaction

    @translated
    def _look(self, repository: str, items: list[_Item]) -> int:
        """Notes of each item what is there already; the latest version. Raises FileExists."""
        with self._ledger.env.reading() as txn:
            head = self._ledger.head(txn, repository)
            view = self._ledger.view(txn, repository)
            for item in items:
                file = item.file
                if (conflict := self._ledger.conflict(txn, head, file)) is not None:
                    raise conflict
                item.named = head is not None and self._ledger.taken(txn, head, file.filename) is not None
                item.already = view.file(file.project, file.filename) is not None
                row = self._ledger.blob(txn, file.digest)
                found = None if row is None else self._blobs.stat(file.digest)
                item.stands = found is not None and row == LocalBlob(found.st_size, found.st_mtime_ns)
            return 0 if head is None else head.latest

    def _prepare(self, repository: str, claim: int, item: _Item) -> None:
        """Bytes and sidecar on disk, to stay."""
        file = item.file
        self._disk.point("all-written", item.temp.path)
        self._disk.point("hash-checked", item.temp.path)
        self._sidecars.make_folder(file.digest)
        if not item.stands and item.temp.fd >= 0:
            item.left = True
            self._blobs.adopt(item.temp, file.digest)
            item.temp.moved()
        if item.named or item.claim >= claim:
            return
        sidecar = Sidecar(
            format=FORMAT,
            repository=repository,
            filename=file.filename,
            project=file.project,
            sha256=file.digest,
            highest=claim,
            file=file,
            metadata=item.metadata,
            provenance=item.provenance,
        )
        temp = self._sidecars.written(sidecar.encode())
        item.left = True
        try:
            self._sidecars.sync(self._sidecars.place(temp, item.key))
        finally:
            temp.discard()
        item.claim = claim

    # ------------------------------------------------------------------ in the transaction

    def _commit(
        self, txn: Txn, repository: str, items: list[_Item], action: Action, summary: str
    ) -> Done | _Again | PyproxyError:
        ledger = self._ledger
        head = ledger.head(txn, repository)
        view = ledger.view(txn, repository)
        change = Change(ledger, repository, action, self._clock(), summary)
        blobs: dict[Sha256, LocalBlob] = {}
        settled: set[Filename] = set()
        for item in items:
            file = item.file
            if (conflict := ledger.conflict(txn, head, file)) is not None:
                return conflict
            found = self._blobs.stat(file.digest)
            if found is None or found.st_size != file.size:
                return self._vanished(item)
            if head is None or ledger.taken(txn, head, file.filename) is None:
                if not self._sidecars.stands(item.key):
                    item.claim = 0
                    return _Again()
                if (0 if head is None else head.latest) >= item.claim:
                    return _Again()
                settled.add(file.filename)
            blobs[file.digest] = LocalBlob(found.st_size, found.st_mtime_ns)
            if view.file(file.project, file.filename) is not None:
                change.already.append(file.filename)
            else:
                change.added.append(file)
        for digest, blob in blobs.items():
            ledger.put_blob(txn, digest, blob)
        for item in items:
            if item.file.filename not in change.already:
                for digest, body in item.documents.items():
                    ledger.put_doc(txn, digest, body)
        done = change.commit(txn, settled=settled)
        # Another process added the same: our sidecar may have gone over its one.
        late = [item for item in items if item.file.filename in change.already and item.claim]
        keys = tuple(ledger.mark_pending(txn, item.key) for item in late)
        return Done(done.outcome, done.pending + keys)

    def _vanished(self, item: _Item) -> _Again | StoreTrouble:
        """A blob without a row was swept, or pruned with its row, between the preparation and the transaction."""
        if item.temp.fd >= 0:
            return _Again()
        return StoreTrouble(f"{item.file.filename} was taken away while it was added; add it again")

    # ------------------------------------------------------------------ after a failure

    def _clear_away(self, items: list[_Item]) -> None:
        """Takes away what was put on disk without becoming part of a version. Never raises."""
        if not items:
            return
        aside: list[Path] = []

        def clear(txn: Txn) -> None:
            for item in items:
                digest = item.file.digest
                if self._ledger.sidecar(txn, item.key) is None:
                    self._sidecars.remove(item.key)
                if self._ledger.blob(txn, digest) is None:
                    path = self._blobs.set_aside(digest)
                    if path is not None:
                        aside.append(path)

        try:
            self._writer.call(clear)
            for path in aside:
                self._blobs.unlink(path)
        except StoreTrouble as exc:
            log.warning("what a failed add left behind stays until the next start: %s", exc)


def _item(repository: str, new: NewFile, now: str) -> _Item:
    """Raises StoreTrouble where the temp does not hold the file."""
    file = new.file
    if new.temp.size != file.size:
        raise StoreTrouble(f"{new.temp.size} bytes were written of {file.size}")
    documents = {_digest(body): body for body in (new.metadata, new.attestations) if body is not None}
    file = msgspec.structs.replace(
        file,
        metadata=None if new.metadata is None else _digest(new.metadata),
        attestations=None if new.attestations is None else _digest(new.attestations),
        upload_time=file.upload_time or now,
    )
    return _Item(
        temp=new.temp,
        file=file,
        key=sidecar_key(repository, file.filename, file.digest),
        documents=documents,
        metadata=new.metadata,
        provenance=new.attestations,
    )


def _digest(body: bytes) -> Sha256:
    return Sha256(hashlib.sha256(body).hexdigest())
