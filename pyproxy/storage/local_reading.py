"""What local repositories hold, as of their versions: inline reads, each one short transaction.

What they return is a copy. All raise StoreTrouble.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyproxy.errors import BlobDamaged
from pyproxy.model import Filename, ProjectName, Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.cache import OpenBlob
from pyproxy.storage.environment import translated
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import Diff, LocalBlob, LocalFile, RepositoryVersion
from pyproxy.storage.local_view import unpacked


class LocalReading:
    """The half of `Repositories` that changes nothing. Version 0 of every repository is there, and empty."""

    def __init__(self, ledger: LocalLedger, blobs: Blobs) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._env = ledger.env

    @translated
    def stamp(self) -> int:
        """Another number after every change by any process, a quarter of a microsecond: the index's last commit."""
        txn = self._env.reading()
        try:
            return txn.id()
        finally:
            txn.abort()

    @translated
    def latest(self, repository: str) -> int:
        """The number of its latest version, 0 where it has none. A microsecond."""
        with self._env.reading() as txn:
            head = self._ledger.head(txn, repository)
        return 0 if head is None else head.latest

    @translated
    def repositories(self) -> dict[str, int]:
        """Those that were ever written to, and their latest versions."""
        with self._env.reading() as txn:
            return {name: head.latest for name, head in self._ledger.heads(txn)}

    @translated
    def page_files(self, repository: str, project: ProjectName, version: int) -> tuple[LocalFile, ...]:
        """The project's files in that version, sorted by name. 2 µs a file. Raises VersionUnknown."""
        with self._env.reading() as txn:
            return tuple(self._ledger.view(txn, repository, version).files(project))

    @translated
    def has(self, repository: str, project: ProjectName, version: int) -> bool:
        """Whether that version holds any file of the project. Raises VersionUnknown."""
        with self._env.reading() as txn:
            return self._ledger.view(txn, repository, version).has(project)

    @translated
    def projects(self, repository: str, version: int) -> Sequence[str]:
        """The names of that version's projects as their files spell them, sorted by normalised name.

        3 µs a project: where there are thousands, call it off the loop. Raises VersionUnknown.
        """
        with self._env.reading() as txn:
            return self._ledger.view(txn, repository, version).projects()

    @translated
    def file(self, repository: str, project: ProjectName, filename: Filename, version: int) -> LocalFile | None:
        """Raises VersionUnknown."""
        with self._env.reading() as txn:
            return self._ledger.view(txn, repository, version).file(project, filename)

    @translated
    def rolled_back(
        self, repository: str, project: ProjectName, filename: Filename, *, since: float
    ) -> LocalFile | None:
        """The file, where a rollback after that instant is what took it out of the latest version."""
        with self._env.reading() as txn:
            head = self._ledger.head(txn, repository)
            last = None if head is None else self._ledger.last_closed(txn, head, project, filename)
            if last is None:
                return None
            removed, file = last
            made = self._ledger.version(txn, head, removed)
        return file if made is not None and made.action == "rollback" and made.created_at > since else None

    @translated
    def changed(self, repository: str, project: ProjectName, version: int) -> int:
        """A version since which, and up to this one, nothing of the project changed: what was rendered then is valid.

        It is the first such where this one is the latest, or nothing of the project changed after it.
        """
        with self._env.reading() as txn:
            head = self._ledger.head(txn, repository)
            touched = 0 if head is None else self._ledger.touched(txn, head, project)
        return min(touched, version)

    @translated
    def touched(self, repository: str, version: int) -> list[ProjectName]:
        """The projects of which something changed after this version. Looks at all there ever were, 1 µs each."""
        with self._env.reading() as txn:
            head = self._ledger.head(txn, repository)
            return [] if head is None else list(self._ledger.touched_after(txn, head, version))

    @translated
    def version(self, repository: str, number: int) -> RepositoryVersion | None:
        """What made a version; None where there is no such, or it was pruned."""
        with self._env.reading() as txn:
            return self._ledger.version(txn, self._ledger.head(txn, repository), number)

    @translated
    def versions(self, repository: str) -> list[RepositoryVersion]:
        """Those that were not pruned, oldest first."""
        with self._env.reading() as txn:
            head = self._ledger.head(txn, repository)
            return [] if head is None else list(self._ledger.versions(txn, head))

    @translated
    def at(self, repository: str, instant: float) -> int:
        """The version that was the latest at an instant (seconds since the epoch), 0 before the first.

        Raises VersionUnknown where that one has been pruned, or lost with an index.
        """
        with self._env.reading() as txn:
            return self._ledger.at(txn, repository, instant)

    @translated
    def diff(self, repository: str, a: int, b: int) -> Diff:
        """What changed from version `a` to version `b`. Looks at all files of both. Raises VersionUnknown."""
        with self._env.reading() as txn:
            before = dict(self._ledger.view(txn, repository, a).rows())
            after = dict(self._ledger.view(txn, repository, b).rows())
        return Diff(
            added=tuple(unpacked(after[key]) for key in sorted(after.keys() - before.keys())),
            removed=tuple(unpacked(before[key]) for key in sorted(before.keys() - after.keys())),
            changed=tuple(
                (unpacked(before[key]), unpacked(after[key]))
                for key in sorted(before.keys() & after.keys())
                if before[key] != after[key]
            ),
        )

    # ------------------------------------------------------------------ bytes

    @translated
    def open(self, digest: Sha256) -> OpenBlob:
        """A file's bytes; who takes it closes it.

        Raises BlobDamaged: then `mend`, and open it again if that says so; and StoreTrouble.
        """
        with self._env.reading() as txn:
            row = self._ledger.blob(txn, digest)
        if row is None:
            raise BlobDamaged(f"blob {digest} belongs to no local file")
        blob = OpenBlob(self._blobs.open(digest), row.size, digest)
        try:
            self._compare(blob, row)
        except BaseException:
            blob.close()
            raise
        return blob

    def _compare(self, blob: OpenBlob, row: LocalBlob) -> None:
        found = self._blobs.fstat(blob.fd, blob.digest)
        if found.st_size != row.size:
            raise BlobDamaged(f"blob {blob.digest} has {found.st_size} bytes, not {row.size}")
        if found.st_mtime_ns != row.mtime_ns:
            raise BlobDamaged(f"blob {blob.digest} was changed after it was stored")

    @translated
    def metadata(self, digest: Sha256) -> bytes:
        """The core metadata with this digest. Raises BlobDamaged."""
        with self._env.reading() as txn:
            body = self._ledger.doc(txn, digest)
        if body is None:
            raise BlobDamaged(f"document {digest} is missing")
        return body

    def attestations(self, digest: Sha256) -> bytes:
        """The provenance with this digest. Raises BlobDamaged."""
        return self.metadata(digest)
