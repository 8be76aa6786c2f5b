"""The LMDB environment of local content: its tables, and every commit on disk before it counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import lmdb

from pyproxy.errors import StoreTrouble
from pyproxy.storage.environment import (
    DAMAGED,
    MAP_SIZE,
    MAX_READERS,
    Environment,
    IndexDamaged,
    Txn,
    lmdb_trouble,
)

SCHEMA: Final = b"1"

_SCHEMA_KEY: Final = b"schema"
_MAX_DBS: Final = 32
_SPARE_TXNS: Final = 4


class LocalEnvironment(Environment):
    """An open index of local content, with tables of its own.

    heads     repository → its number, latest version, number of files
    current   repository, project, file name → version that added it, file: what the latest version holds
    past      the same and the version that added it → version that took it away, file: what earlier ones held
    versions  repository, number → RepositoryVersion
    times     repository, instant, number → nothing: by which the version of an instant is found
    touched   repository, project → the last version that changed it
    taken     repository, file name → digest, project; never deleted
    spellings repository, what all spellings of a file name have in common → the one that is taken; never deleted
    blobs     digest → size, mtime
    docs      digest → a document: core metadata, provenance
    refs      digest → how many rows of `current` and `past` need it
    sidecars  digest, tag → repository, file name; never deleted
    pending   digest, tag → the transaction that made the sidecar out of date
    """

    def __init__(self, path: Path, *, map_size: int = MAP_SIZE) -> None:
        """Raises StoreTrouble; IndexDamaged where the file is none of LMDB's."""
        # Nothing of the base class's is opened: it has other tables, and commits that a power cut may undo.
        self.path = path
        try:
            self._env = lmdb.open(
                os.fspath(path),
                map_size=map_size,
                max_dbs=_MAX_DBS,
                max_readers=MAX_READERS,
                max_spare_txns=_SPARE_TXNS,
                mode=0o600,
            )
        except DAMAGED as exc:
            raise _damaged(exc) from exc
        except lmdb.Error as exc:
            raise lmdb_trouble(exc, "cannot open the index of local content") from exc
        try:
            self._open()
        except BaseException:
            self._env.close()
            raise

    def _open(self) -> None:
        try:
            self._env.reader_check()
            with self._env.begin(write=True) as txn:
                self.meta = self._env.open_db(b"meta", txn)
                self._check_schema(txn)
                self.heads = self._env.open_db(b"heads", txn)
                self.current = self._env.open_db(b"current", txn)
                self.past = self._env.open_db(b"past", txn)
                self.versions = self._env.open_db(b"versions", txn)
                self.times = self._env.open_db(b"times", txn)
                self.touched = self._env.open_db(b"touched", txn)
                self.taken = self._env.open_db(b"taken", txn)
                self.spellings = self._env.open_db(b"spellings", txn)
                self.blobs = self._env.open_db(b"blobs", txn)
                self.docs = self._env.open_db(b"docs", txn)
                self.refs = self._env.open_db(b"refs", txn)
                self.sidecars = self._env.open_db(b"sidecars", txn)
                self.pending = self._env.open_db(b"pending", txn)
        except DAMAGED as exc:
            raise _damaged(exc) from exc
        except lmdb.Error as exc:
            raise lmdb_trouble(exc, "cannot open the index of local content") from exc

    def _check_schema(self, txn: Txn) -> None:
        found = txn.get(_SCHEMA_KEY, db=self.meta)
        if found is None:
            txn.put(_SCHEMA_KEY, SCHEMA, db=self.meta)
        elif found != SCHEMA:
            raise StoreTrouble("the index of local content was written by another version of pyproxy")


def _damaged(exc: lmdb.Error) -> IndexDamaged:
    return IndexDamaged(f"the index of local content is damaged ({type(exc).__name__}): pyproxy verify --rebuild")
