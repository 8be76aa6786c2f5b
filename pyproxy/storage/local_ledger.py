"""The rows of local content: read as of one version, and changed together, in the caller's transaction.

The only code that writes these tables (but for pruning.py, local_audit.py and rebuild.py, which go through it where
rows must agree).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pyproxy.errors import BlobDamaged, FileExists, VersionUnknown
from pyproxy.model import Filename, ProjectName, Sha256
from pyproxy.storage.environment import Txn
from pyproxy.storage.local_env import LocalEnvironment
from pyproxy.storage.local_rows import (
    NUMBER,
    Head,
    LocalBlob,
    LocalFile,
    RepositoryVersion,
    Taken,
    encoder,
    micros,
    number,
    row_key,
    sidecar_key,
    spelling_key,
    version_decoder,
)
from pyproxy.storage.local_view import View, scan, unpacked

_NAMES: Final = b"repository:"
_SEQUENCE: Final = b"repositories"


class LocalLedger:
    """Stateless: everything is in the index, so every process sees the same."""

    def __init__(self, env: LocalEnvironment) -> None:
        self.env = env

    # ------------------------------------------------------------------ reading

    def head(self, txn: Txn, repository: str) -> Head | None:
        """None where nothing was ever written."""
        data = txn.get(repository.encode(), db=self.env.heads)
        return None if data is None else Head.unpack(data)

    def heads(self, txn: Txn) -> list[tuple[str, Head]]:
        return [(key.decode(), Head.unpack(value)) for key, value in txn.cursor(db=self.env.heads)]

    def view(self, txn: Txn, repository: str, version: int | None = None) -> View:
        """One version, or the latest. Version 0 is the empty one that all repositories begin with.

        Raises VersionUnknown.
        """
        head = self.head(txn, repository)
        latest = 0 if head is None else head.latest
        if version is None:
            version = latest
        elif version not in (0, latest) and self.version(txn, head, version) is None:
            raise _unknown(repository, version, latest)
        return View(self.env, txn, head, version)

    def version(self, txn: Txn, head: Head | None, version: int) -> RepositoryVersion | None:
        if head is None or not 0 < version <= head.latest:
            return None
        data = txn.get(head.prefix + number(version), db=self.env.versions)
        return None if data is None else version_decoder.decode(data)

    def versions(self, txn: Txn, head: Head) -> Iterator[RepositoryVersion]:
        """Those that were not pruned, in order."""
        for _, data in scan(txn, self.env.versions, head.prefix):
            yield version_decoder.decode(data)

    def at(self, txn: Txn, repository: str, instant: float) -> int:
        """The version that was the latest at an instant. Raises VersionUnknown where it has been pruned."""
        head = self.head(txn, repository)
        if head is None:
            return 0
        with txn.cursor(db=self.env.times) as cursor:
            behind = cursor.set_range(head.prefix + micros(instant) + b"\xff" * (NUMBER + 1))
            if not (cursor.prev() if behind else cursor.last()) or not cursor.key().startswith(head.prefix):
                return 0
            found = int.from_bytes(cursor.key()[-NUMBER:], "big")
        if self.version(txn, head, found) is None:
            raise _unknown(repository, found, head.latest)
        return found

    def touched(self, txn: Txn, head: Head, project: ProjectName) -> int:
        """The last version that changed anything of the project; 0 where none did."""
        return int.from_bytes(txn.get(head.prefix + project.encode(), db=self.env.touched) or b"", "big")

    def touched_after(self, txn: Txn, head: Head, version: int) -> Iterator[ProjectName]:
        """The projects of which later versions changed anything."""
        for key, value in scan(txn, self.env.touched, head.prefix):
            if value > number(version):
                yield ProjectName(key[len(head.prefix) :].decode())

    def taken(self, txn: Txn, head: Head, filename: Filename) -> Taken | None:
        data = txn.get(head.prefix + filename.encode(), db=self.env.taken)
        return None if data is None else Taken.unpack(data)

    def last_closed(
        self, txn: Txn, head: Head, project: ProjectName, filename: Filename
    ) -> tuple[int, LocalFile] | None:
        """The file as a version took it away last, and that version's number."""
        rows = [value for _, value in scan(txn, self.env.past, row_key(head, project, filename) + b"\0")]
        return (int.from_bytes(rows[-1][:NUMBER], "big"), unpacked(rows[-1][NUMBER:])) if rows else None

    def conflict(self, txn: Txn, head: Head | None, file: LocalFile) -> FileExists | None:
        """Why the file cannot be in the repository: its name stands for other bytes, or is a second spelling of one.

        Without the latter there could be two files of one project, version and platform, and installers differ in
        which of them they take.
        """
        if head is None:
            return None
        taken = self.taken(txn, head, file.filename)
        if taken is not None:
            same = (taken.digest, taken.project) == (file.digest, file.project)
            return None if same else exists(file.filename, "has other bytes in this repository, or had them")
        key = spelling_key(head, file.filename)
        spelled = None if key is None else txn.get(key, db=self.env.spellings)
        return None if spelled is None else exists(file.filename, f"is {spelled.decode()} in this repository, or was")

    def blob(self, txn: Txn, digest: Sha256) -> LocalBlob | None:
        data = txn.get(bytes.fromhex(digest), db=self.env.blobs)
        return None if data is None else LocalBlob.unpack(data)

    def blobs(self, txn: Txn, prefix: bytes = b"") -> Iterator[tuple[Sha256, LocalBlob]]:
        """The blobs whose digests begin with these bytes."""
        for raw, data in scan(txn, self.env.blobs, prefix):
            yield Sha256(raw.hex()), LocalBlob.unpack(data)

    def shards(self, txn: Txn) -> set[str]:
        """The first two digits of the blobs' digests. Jumps from one to the next."""
        found: set[str] = set()
        with txn.cursor(db=self.env.blobs) as cursor:
            here = cursor.first()
            while here:
                first = cursor.key()[:1]
                found.add(first.hex())
                here = cursor.set_range(first + b"\xff" * 32)  # behind all digests of 32 bytes that begin so
        return found

    def doc(self, txn: Txn, digest: Sha256) -> bytes | None:
        return txn.get(bytes.fromhex(digest), db=self.env.docs)

    def refs(self, txn: Txn, digest: Sha256) -> int:
        return int.from_bytes(txn.get(bytes.fromhex(digest), db=self.env.refs) or b"", "big")

    def name(self, txn: Txn, prefix: bytes) -> str:
        """The repository whose rows' keys begin so."""
        return (txn.get(_NAMES + prefix, db=self.env.meta) or b"").decode()

    def sidecar(self, txn: Txn, key: bytes) -> tuple[str, Filename] | None:
        """The repository and the file that a sidecar is about; None where it is about none."""
        data = txn.get(key, db=self.env.sidecars)
        return None if data is None else (self.name(txn, data[:4]), Filename(data[4:].decode()))

    # ------------------------------------------------------------------ writing

    def begin(self, txn: Txn, repository: str) -> Head:
        """The repository, made known where it is not."""
        head = self.head(txn, repository)
        if head is None:
            last = int.from_bytes(txn.get(_SEQUENCE, db=self.env.meta) or b"", "big") + 1
            head = Head(last.to_bytes(4, "big"), 0, 0)
            txn.put(_SEQUENCE, head.prefix, db=self.env.meta)
            txn.put(_NAMES + head.prefix, repository.encode(), db=self.env.meta)
            txn.put(repository.encode(), head.pack(), db=self.env.heads)
        return head

    def open_row(self, txn: Txn, repository: str, head: Head, version: int, file: LocalFile) -> None:
        """From this version on the repository holds the file; its name is taken."""
        txn.put(row_key(head, file.project, file.filename), number(version) + encoder.encode(file), db=self.env.current)
        for digest in file.digests:
            self.put_refs(txn, digest, self.refs(txn, digest) + 1)
        txn.put(head.prefix + file.project.encode(), number(version), db=self.env.touched)
        self.take(txn, repository, head, file.filename, Taken(file.digest, file.project))

    def close_row(self, txn: Txn, head: Head, version: int, file: LocalFile) -> None:
        """From this version on the repository does not hold the file as it was."""
        key = row_key(head, file.project, file.filename)
        value = txn.pop(key, db=self.env.current)
        if value is None:
            raise BlobDamaged(f"the index of local content has lost the row of {file.filename}")
        txn.put(key + b"\0" + value[:NUMBER], number(version) + value[NUMBER:], db=self.env.past)
        txn.put(head.prefix + file.project.encode(), number(version), db=self.env.touched)

    def take(self, txn: Txn, repository: str, head: Head, filename: Filename, taken: Taken) -> None:
        """Fixes for ever what a name stands for. Does nothing where it is fixed."""
        name = filename.encode()
        txn.put(head.prefix + name, taken.pack(), db=self.env.taken, overwrite=False)
        if (spelling := spelling_key(head, filename)) is not None:
            txn.put(spelling, name, db=self.env.spellings, overwrite=False)
        key = sidecar_key(repository, filename, taken.digest)
        txn.put(key, head.prefix + name, db=self.env.sidecars, overwrite=False)

    def put_version(self, txn: Txn, repository: str, head: Head, made: RepositoryVersion) -> None:
        """Makes it the latest."""
        txn.put(repository.encode(), Head(head.prefix, made.number, made.files).pack(), db=self.env.heads)
        txn.put(head.prefix + number(made.number), encoder.encode(made), db=self.env.versions)
        self._put_time(txn, head, made.created_at, made.number)

    def forget_before(self, txn: Txn, head: Head, version: int) -> None:
        """Notes that there were versions before this one, of which nobody knows any more what they held.

        They must not pass for the empty one when an early instant is asked for.
        """
        self._put_time(txn, head, 0.0, version - 1)

    def _put_time(self, txn: Txn, head: Head, instant: float, version: int) -> None:
        """Notes when the version became the latest.

        The latest at an instant is the highest that is not younger. Where a clock was set back, some that were made
        before seem younger than this one: they are the latest at no instant, so their entries go, and one look finds
        the version of any instant.
        """
        when = micros(instant)
        with txn.cursor(db=self.env.times) as cursor:
            while cursor.set_range(head.prefix + when + b"\xff" * NUMBER) and cursor.key().startswith(head.prefix):
                cursor.delete()
        txn.put(head.prefix + when + number(version), b"", db=self.env.times)

    def put_blob(self, txn: Txn, digest: Sha256, blob: LocalBlob) -> None:
        txn.put(bytes.fromhex(digest), blob.pack(), db=self.env.blobs)

    def put_doc(self, txn: Txn, digest: Sha256, body: bytes) -> None:
        txn.put(bytes.fromhex(digest), body, db=self.env.docs, overwrite=False)

    def put_refs(self, txn: Txn, digest: Sha256, count: int) -> None:
        """How many rows need it. What none needs is dropped; its file, if it has one, is the caller's to unlink."""
        raw = bytes.fromhex(digest)
        if count > 0:
            txn.put(raw, number(count), db=self.env.refs)
        else:
            for table in (self.env.refs, self.env.blobs, self.env.docs):
                txn.delete(raw, db=table)

    def mark_pending(self, txn: Txn, key: bytes) -> bytes:
        """Notes that a sidecar says something else than the rows; its key."""
        # Each transaction has a number of its own: who wrote the sidecar by older rows sees that it is not done.
        txn.put(key, number(txn.id()), db=self.env.pending)
        return key


def exists(filename: Filename, why: str) -> FileExists:
    """The refusal that twine and others know by its first words."""
    return FileExists(f"File already exists: {filename} {why}")


def _unknown(repository: str, version: int, latest: int) -> VersionUnknown:
    why = "it was pruned" if 0 < version <= latest else f"the latest is {latest}"
    return VersionUnknown(f"repository {repository} has no version {version}: {why}")
