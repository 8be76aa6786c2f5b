"""One version of a repository as its rows tell it, and how rows are read."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pyproxy.errors import BlobDamaged
from pyproxy.model import Filename, ProjectName
from pyproxy.storage.environment import Table, Txn
from pyproxy.storage.local_env import LocalEnvironment
from pyproxy.storage.local_rows import NUMBER, Head, LocalFile, file_decoder, number, project_key, row_key


class View:
    """What one version of one repository holds, within one transaction."""

    def __init__(self, env: LocalEnvironment, txn: Txn, head: Head | None, version: int) -> None:
        self._env = env
        self._txn = txn
        self._head = head
        self._version = version
        # Rows begin with a version's number: those of versions up to ours sort before this.
        self._next = number(version + 1)

    def rows(self, inner: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys and files, still packed, of the rows whose keys go on like this behind the repository's number."""
        head, behind = self._head, self._next
        if head is None or not self._version:
            return
        for key, value in scan(self._txn, self._env.current, head.prefix + inner):
            if value < behind:
                yield key, value[NUMBER:]
        if self._version < head.latest:
            for key, value in scan(self._txn, self._env.past, head.prefix + inner):
                if self._was_held(key, value):
                    yield key[: -NUMBER - 1], value[NUMBER:]

    def files(self, project: ProjectName) -> list[LocalFile]:
        """The project's files, sorted by name."""
        found = [unpacked(packed) for _, packed in self.rows(project_key(project))]
        if self._head is not None and self._version < self._head.latest:
            found.sort(key=lambda file: file.filename)
        return found

    def file(self, project: ProjectName, filename: Filename) -> LocalFile | None:
        head = self._head
        if head is None or not self._version:
            return None
        key = row_key(head, project, filename)
        value = self._txn.get(key, db=self._env.current)
        if value is not None and value < self._next:
            return unpacked(value[NUMBER:])
        if self._version < head.latest:
            for past_key, past in scan(self._txn, self._env.past, key + b"\0"):
                if self._was_held(past_key, past):
                    return unpacked(past[NUMBER:])
        return None

    def has(self, project: ProjectName) -> bool:
        return next(self.rows(project_key(project)), None) is not None

    def projects(self) -> list[str]:
        """The names of the projects as their first files spell them, sorted by normalised name."""
        head = self._head
        if head is None or not self._version:
            return []
        found: dict[bytes, bytes] = {}
        self._first_of_each(self._env.current, head.prefix, found)
        if self._version < head.latest:
            self._first_of_each(self._env.past, head.prefix, found)
        files = [unpacked(packed) for _, packed in sorted(found.items())]
        return [file.name or file.project for file in files]

    def _first_of_each(self, table: Table, prefix: bytes, found: dict[bytes, bytes]) -> None:
        """Jumps from project to project: a project of a thousand files takes two steps."""
        past = table is self._env.past
        with self._txn.cursor(db=table) as cursor:
            here = cursor.set_range(prefix)
            while here:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    return
                project = key[len(prefix) : key.index(b"\0", len(prefix))]
                held = self._was_held(key, value) if past else value < self._next
                if held:
                    found.setdefault(project, value[NUMBER:])
                # Behind all of a project's keys, which have a NUL there, and before those of a longer name.
                here = cursor.set_range(prefix + project + b"\1") if held or project in found else cursor.next()

    def _was_held(self, key: bytes, value: bytes) -> bool:
        """Of a row of `past`: its key ends in the version that opened it, its value begins with the one after it."""
        return key[-NUMBER:] < self._next <= value


def scan(txn: Txn, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin so, in order."""
    with txn.cursor(db=table) as cursor:
        if not cursor.set_range(prefix):
            return
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def unpacked(data: bytes) -> LocalFile:
    """Raises BlobDamaged for bytes that are no file's: unlike the cache's, such a row never counts as absent."""
    try:
        return file_decoder.decode(data)
    except msgspec.MsgspecError as exc:
        raise BlobDamaged("a row of the index of local content cannot be read: pyproxy verify") from exc
