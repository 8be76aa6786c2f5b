"""A new index of local content out of the sidecars, where the old one is lost or damaged.

What comes back is the latest content of each repository, as one version numbered above any that was ever seen; its
earlier versions are lost. Names that were taken stay taken.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import lmdb
import msgspec

from pyproxy.errors import BlobDamaged, StoreInUse
from pyproxy.model import Filename, Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.catching_up import CatchingUp
from pyproxy.storage.disk import Disk, Fault
from pyproxy.storage.environment import MAP_SIZE, Txn, lmdb_trouble
from pyproxy.storage.findings import Finding, Kind
from pyproxy.storage.local_env import LocalEnvironment
from pyproxy.storage.local_layout import LocalLayout, Presence
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import LocalBlob, LocalFile, RepositoryVersion, Taken, sidecar_key
from pyproxy.storage.local_writer import LocalWriter
from pyproxy.storage.sidecars import Sidecar, Sidecars, decode

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Rebuilt:
    """What came back: the version that each repository has now, how many files, and what was found wrong."""

    repositories: dict[str, int] = field(default_factory=dict)
    files: int = 0
    findings: list[Finding] = field(default_factory=list)


def rebuild_local(
    path: Path,
    *,
    map_size: int = MAP_SIZE,
    fault: Fault | None = None,
    environment: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> Rebuilt:
    """Makes the index of the local content below this data folder anew. Blocking: reads every blob.

    The old index is kept beside it. Nobody else may have the store open. Raises StoreInUse, StoreFull, StoreTrouble.
    """
    layout = LocalLayout(Path(os.path.abspath(path)))  # noqa: PTH100 - links in the path are the owner's business
    disk = Disk(layout.root, fault=fault)
    layout.make(disk, environment)
    presence = Presence(layout, disk)
    try:
        if not presence.alone:
            raise StoreInUse(f"{layout.local} is in use: stop the daemon and its commands before its index is rebuilt")
        return _rebuilt(layout, disk, map_size=map_size, clock=clock)
    finally:
        presence.leave()


def _rebuilt(layout: LocalLayout, disk: Disk, *, map_size: int, clock: Callable[[], float]) -> Rebuilt:
    blobs = Blobs(disk, root=layout.blobs, tmp=layout.tmp, levels=2)
    disk.unlink(layout.clean)
    for name in disk.names(layout.new_index):  # of a rebuild that did not come to its end
        disk.unlink(layout.new_index / name)
    disk.make_own_dir(layout.new_index)
    rebuilt = Rebuilt()
    sidecars = Sidecars(blobs, disk)
    found = _chosen(_read(sidecars, rebuilt.findings), rebuilt.findings)
    env = LocalEnvironment(layout.new_index, map_size=map_size)
    try:
        ledger = LocalLedger(env)
        _Filling(ledger, blobs, rebuilt, now=clock()).run(found)
        _catch_up(ledger, sidecars, disk)
    finally:
        env.close()
    when = datetime.fromtimestamp(clock(), UTC).strftime("%Y%m%dT%H%M%S.%f")
    aside = layout.index.with_name(f"index.replaced-{when}")
    if disk.rename(layout.index, aside):
        log.warning("the old index of local content is kept as %s", disk.shown(aside))
    disk.rename(layout.new_index, layout.index)
    layout.sync(disk)
    return rebuilt


def _catch_up(ledger: LocalLedger, sidecars: Sidecars, disk: Disk) -> None:
    writer = LocalWriter(ledger.env, disk)
    try:
        with ThreadPoolExecutor() as pool:
            catching_up = CatchingUp(ledger, writer, sidecars, pool)
            catching_up.work(catching_up.waiting())
    finally:
        writer.close()


def _read(sidecars: Sidecars, findings: list[Finding]) -> Iterator[Sidecar]:
    for key in sidecars.walk():
        try:
            found = decode(sidecars.read(key) or b"")
        except BlobDamaged as exc:
            wrong = str(exc)
        else:
            if sidecar_key(found.repository, found.filename, found.sha256) == key:
                yield found
                continue
            wrong = "it is another file's"
        findings.append(Finding("altered", f"sidecar {sidecars.path(key).name}", wrong, mended=False))


def _chosen(sidecars: Iterable[Sidecar], findings: list[Finding]) -> dict[str, dict[Filename, Sidecar]]:
    """By repository and file name.

    Of two that claim one name, which an add leaves that lost a race and was killed, the one uploaded first stays.
    """
    chosen: dict[str, dict[Filename, Sidecar]] = defaultdict(dict)
    for one in sidecars:
        names = chosen[one.repository]
        other = names.setdefault(one.filename, one)
        if other is not one:
            first, second = sorted((one, other), key=lambda each: each.file.upload_time if each.file else "")
            names[one.filename] = msgspec.structs.replace(first, highest=max(first.highest, second.highest))
            detail = f"{second.sha256} claims this name too, and was uploaded later: left out"
            findings.append(Finding("row", f"{one.repository}/{one.filename}", detail, mended=False))
    return chosen


class _Filling:
    """Writes the rows: all of them, or none."""

    def __init__(self, ledger: LocalLedger, blobs: Blobs, rebuilt: Rebuilt, *, now: float) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._rebuilt = rebuilt
        self._now = now

    def run(self, found: dict[str, dict[Filename, Sidecar]]) -> None:
        """Raises StoreFull, StoreTrouble."""
        try:
            with self._ledger.env.writing() as txn:
                for repository, names in sorted(found.items()):
                    self._fill(txn, repository, list(names.values()))
        except lmdb.Error as exc:
            raise lmdb_trouble(exc, "cannot write the index of local content") from exc

    def _fill(self, txn: Txn, repository: str, sidecars: list[Sidecar]) -> None:
        ledger = self._ledger
        head = ledger.begin(txn, repository)
        number = max(one.highest for one in sidecars) + 1
        held = []
        for one in sidecars:
            ledger.take(txn, repository, head, one.filename, Taken(one.sha256, one.project))
            file = None if one.file is None or one.removed else self._file(txn, one, one.file)
            if file is not None:
                ledger.open_row(txn, repository, head, number, file)
                held.append(file)
            # One of them must tell of the new version; and those say too much whose files are gone.
            if file != one.file or one is sidecars[0]:
                ledger.mark_pending(txn, sidecar_key(repository, one.filename, one.sha256))
        ledger.forget_before(txn, head, number)
        made = RepositoryVersion(
            number=number,
            created_at=self._now,
            action="rebuild",
            summary="from sidecars",
            added=len(held),
            removed=0,
            changed=0,
            files=len(held),
        )
        ledger.put_version(txn, repository, head, made)
        self._rebuilt.repositories[repository] = number
        self._rebuilt.files += len(held)

    def _file(self, txn: Txn, sidecar: Sidecar, file: LocalFile) -> LocalFile:
        """The file with what is left of it. One whose bytes are lost stays: an error, and not absent."""
        subject = f"{sidecar.repository}/{sidecar.filename}"
        found = self._blobs.stat(file.digest)
        sound = found is not None and found.st_size == file.size and self._blobs.is_sound(file.digest)
        if not sound:
            detail = f"blob {file.digest} is {'missing' if found is None else 'damaged'}"
            self._tell("missing" if found is None else "altered", subject, detail)
        mtime = found.st_mtime_ns if found is not None and sound else 0
        self._ledger.put_blob(txn, file.digest, LocalBlob(file.size, mtime))
        if not self._document(txn, file.metadata, sidecar.metadata):
            self._tell("missing", subject, "its core metadata is lost")
            file = msgspec.structs.replace(file, metadata=None)
        if not self._document(txn, file.attestations, sidecar.provenance):
            self._tell("missing", subject, "its provenance is lost")
            file = msgspec.structs.replace(file, attestations=None)
        return file

    def _document(self, txn: Txn, digest: Sha256 | None, body: bytes | None) -> bool:
        if digest is None:
            return True
        if body is None or sha256(body).hexdigest() != digest:
            return False
        self._ledger.put_doc(txn, digest, body)
        return True

    def _tell(self, kind: Kind, subject: str, detail: str) -> None:
        self._rebuilt.findings.append(Finding(kind, subject, detail, mended=False))
