"""Whether the files of local content and their rows agree, both ways; mends what can be mended when it is told to.

Nothing here can be fetched again: a damaged blob keeps its rows, so that its file is an error and not absent, which
would send clients to other indexes. The store may be in use meanwhile: what looks wrong is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pyproxy.errors import BlobDamaged
from pyproxy.model import Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.catching_up import CatchingUp
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import Txn, translated
from pyproxy.storage.findings import Finding, Kind
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_row_audit import LocalRowAudit
from pyproxy.storage.local_rows import LocalBlob
from pyproxy.storage.local_sweep import LocalSweep, digest_of
from pyproxy.storage.local_view import scan
from pyproxy.storage.sidecars import Sidecars, decode
from pyproxy.storage.writer import Writer


class LocalAudit:
    """Looks at one store. Every method blocks."""

    def __init__(
        self,
        ledger: LocalLedger,
        writer: Writer,
        blobs: Blobs,
        sidecars: Sidecars,
        disk: Disk,
        *,
        catching_up: CatchingUp,
        sweep: LocalSweep,
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._blobs = blobs
        self._sidecars = sidecars
        self._disk = disk
        self._catching_up = catching_up
        self._sweep = sweep
        self._rows = LocalRowAudit(ledger, writer)

    def verify(self, *, mend: bool) -> Iterator[Finding]:
        """Everything that is wrong, as it is found: every row is checked and every blob read. Raises StoreTrouble."""
        if mend:
            self._catching_up.work(self._catching_up.waiting())
        yield from self._rows.rows(mend=mend)
        yield from self._rows.documents()
        for shard in self._sweep.shards():
            yield from self._blob_files(shard, mend=mend)
            yield from self._sidecar_files(shard, mend=mend)
            yield from self._strays(shard, mend=mend)

    def mend(self, digest: Sha256) -> bool:
        """Looks at a blob that seems damaged, reading it all; whether its bytes are right. Raises StoreTrouble.

        Only its times may be others: restored from a backup, or touched by somebody.
        """
        found = self._blobs.stat(digest)
        if found is None or not self._blobs.is_sound(digest):
            return False
        blob = LocalBlob(found.st_size, found.st_mtime_ns)

        def note(txn: Txn) -> bool:
            row = self._ledger.blob(txn, digest)
            if row is not None:
                self._ledger.put_blob(txn, digest, blob)
            return row is not None

        return self._writer.call(note)

    # ------------------------------------------------------------------ blobs

    def _blob_files(self, shard: str, *, mend: bool) -> Iterator[Finding]:
        for digest, row in self._recorded(shard).items():
            wrong = self._wrong_blob(digest, row)
            if wrong is None or self._recorded(digest).get(digest) != row:
                continue  # in the second case pruned, or stored anew, while we looked
            kind, detail = wrong
            if kind == "touched":
                yield Finding(kind, digest, detail, mended=mend and self.mend(digest))
                continue
            if mend and kind != "missing":
                self._set_aside(digest, row)
                detail += ", set aside"
            yield Finding(kind, digest, f"{detail}: {self._users(digest)}", mended=False)

    def _wrong_blob(self, digest: Sha256, row: LocalBlob) -> tuple[Kind, str] | None:
        found = self._blobs.stat(digest)
        if found is None:
            return "missing", "its file is gone"
        if found.st_size != row.size:
            return "cut", f"{found.st_size} bytes, recorded as {row.size}"
        if not self._blobs.is_sound(digest):
            return "altered", "its bytes do not have its digest"
        if found.st_mtime_ns != row.mtime_ns:
            return "touched", "its file has another time"
        return None

    def _set_aside(self, digest: Sha256, row: LocalBlob) -> None:
        """Keeps the damaged file under another name; adding the right one again then brings it back."""
        path = self._blobs.path(digest)

        def move(txn: Txn) -> None:
            if self._ledger.blob(txn, digest) == row:
                self._disk.rename(path, path.with_name(f"{digest}.damaged"))

        self._writer.call(move)

    @translated
    def _recorded(self, prefix: str) -> dict[Sha256, LocalBlob]:
        with self._ledger.env.reading() as txn:
            return dict(self._ledger.blobs(txn, bytes.fromhex(prefix)))

    @translated
    def _users(self, digest: Sha256) -> str:
        with self._ledger.env.reading() as txn:
            keys = [key for key, _ in scan(txn, self._ledger.env.sidecars, bytes.fromhex(digest))]
            about = [self._ledger.sidecar(txn, key) for key in keys]
        return ", ".join(f"{one[0]}/{one[1]}" for one in about if one is not None)

    # ------------------------------------------------------------------ sidecars

    def _sidecar_files(self, shard: str, *, mend: bool) -> Iterator[Finding]:
        for key in self._sidecars_recorded(shard):
            wrong = self._wrong_sidecar(key)
            if wrong is None or self._wrong_sidecar(key) != wrong:
                continue
            subject, kind, detail = wrong
            yield Finding(kind, f"sidecar of {subject}", detail, mended=mend and self._rewrite(key))

    def _rewrite(self, key: bytes) -> bool:
        self._writer.call(lambda txn: self._ledger.mark_pending(txn, key))
        return self._catching_up.work([key])

    @translated
    def _sidecars_recorded(self, shard: str) -> list[bytes]:
        with self._ledger.env.reading() as txn:
            return [key for key, _ in scan(txn, self._ledger.env.sidecars, bytes.fromhex(shard))]

    @translated
    def _wrong_sidecar(self, key: bytes) -> tuple[str, Kind, str] | None:
        with self._ledger.env.reading() as txn:
            if txn.get(key, db=self._ledger.env.pending) is not None:
                return None
            try:
                expected = self._catching_up.expected(txn, key)
            except BlobDamaged:
                return None  # told of with the rows
        if expected is None:
            return None
        subject = f"{expected.repository}/{expected.filename}"
        data = self._sidecars.read(key)
        if data is None:
            return subject, "missing", "its file is gone"
        try:
            found = decode(data)
        except BlobDamaged as exc:
            return subject, "altered", str(exc)
        if msgspec.structs.replace(found, highest=expected.highest) != expected:
            return subject, "altered", "it says something else than the index"
        return None

    # ------------------------------------------------------------------ files without a row

    def _strays(self, shard: str, *, mend: bool) -> Iterator[Finding]:
        blobs, sidecars = self._sweep.orphans(shard)
        if mend:
            self._sweep.remove_sidecars(sidecars)
            self._sweep.unlink(blobs)
        word = ": removed" if mend else ""
        for digest in blobs:
            yield Finding("orphan", digest, f"no row knows this blob{word}", mended=mend)
        for key in sidecars:
            yield Finding("orphan", digest_of(key), f"no row knows this sidecar of it{word}", mended=mend)
